"""Nights of many cells, whose starts differ by known amounts."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage.tally import Tally
from nightbench.figures import Estimate
from nightbench.stats.combine import combine
from nightbench.stats.moderate import combine_all

__all__ = ["NIGHTS", "Night", "cover_nights"]


@dataclass(frozen=True, slots=True)
class Night:
    """Cells whose starts differ: ``setups`` x ``loads`` of them, in ``rounds`` rounds.

    The factor between starts is lognormal, of sigma 3 % times a factor of its own for each setup: lognormal too,
    exp of a normal times log ``unlike``. The first setup of a ``wild`` night has ten times the 3 %. Loads of one
    setup have nine tenths of that variance in common where ``shared``, and nothing otherwise.
    """

    name: str
    setups: int = 18
    loads: int = 1
    unlike: float = 1.0
    wild: bool = False
    shared: bool = False

    def draw(self, rng: np.random.Generator, rounds: int) -> NDArray[np.float64]:
        """Measured values, shape (setups, loads, rounds); the truth is 1."""
        sigma = 0.03 * np.exp(math.log(self.unlike) * rng.standard_normal((self.setups, 1, 1)))
        if self.wild:
            sigma[0] = 0.3
        own = rng.standard_normal((self.setups, self.loads, rounds))
        if self.shared:
            common = rng.standard_normal((self.setups, 1, rounds))
            own = math.sqrt(0.9) * common + math.sqrt(0.1) * own
        return np.exp(sigma * own)


NIGHTS = tuple(
    replace(
        night,
        name=f"{night.name}, {setups} x {loads}{' shared' if loads > 1 else ''}",
        setups=setups,
        loads=loads,
        shared=loads > 1,
    )
    for setups, loads in ((18, 1), (6, 3))
    for night in (
        Night("equal"),
        Night("unlike x2", unlike=2.0),
        Night("unlike x4", unlike=4.0),
        Night("one wild", wild=True),
    )
)


def cover_nights(night: Night, rng: np.random.Generator, runs: int, rounds: int) -> tuple[Tally, Tally, Tally]:
    """Coverage of moderated intervals over ``runs`` nights: of ordinary cells, of wild ones, and of ordinary cells
    had each been left to itself."""
    usual, wild, alone = Tally(), Tally(), Tally()
    units = np.repeat(np.arange(night.setups), night.loads).tolist()
    for _ in range(runs):
        values = night.draw(rng, rounds).reshape(-1, rounds).tolist()
        groups = [[Estimate(value) for value in row] for row in values]
        for unit, group, found in zip(units, groups, combine_all(groups, units=units), strict=True):
            if night.wild and unit == 0:
                wild.add(found, 1.0)
            else:
                usual.add(found, 1.0)
                alone.add(combine(group), 1.0)
    return usual, wild, alone
