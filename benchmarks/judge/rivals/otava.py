"""Apache Otava itself, in its own environment, asked every night about the series so far."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.changes import steps

__all__ = ["Otava"]

_LAST = 14


@dataclass(frozen=True, slots=True)
class Otava:
    """Its defaults, and the steps that it locates within the last 14 nights: the older ones are no news."""

    name: str
    python: Path
    least: float
    """Relative change; 0 by default."""
    series: int

    def fires(self, values: NDArray[np.float64], nights: range) -> NDArray[np.int8]:
        so_far = [row[: night + 1].tolist() for row in values for night in nights]
        found = steps(self.python, so_far, [self.least] * len(so_far))
        fired = [self._last(row, each) for row, each in zip(so_far, found, strict=True)]
        return np.array(fired, dtype=np.int8).reshape(len(values), len(nights))

    def _last(self, row: list[float], found: list[tuple[int, float, float, float]]) -> int:
        recent = [each for each in found if each[0] >= len(row) - _LAST]
        if not recent:
            return 0
        _, before, after, _ = recent[-1]
        return 1 if after > before else -1
