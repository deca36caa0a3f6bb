"""A rule that looks at all series of one night at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Nightly", "directed"]


@dataclass(frozen=True, slots=True)
class Nightly:
    """``tonight(values)``, of shape (series, nights so far), says of each series whether its last night fires."""

    name: str
    tonight: Callable[[NDArray[np.float64]], NDArray[np.int8]]
    series: int = 1 << 30

    def fires(self, values: NDArray[np.float64], nights: range) -> NDArray[np.int8]:
        return np.stack([self.tonight(values[:, : night + 1]) for night in nights], axis=1)


def directed(rings: NDArray[np.bool_], change: NDArray[np.float64]) -> NDArray[np.int8]:
    """The sign of the ``change`` where it ``rings``."""
    return np.where(rings, np.sign(change), 0).astype(np.int8)
