"""The history rule, as the other rules are asked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.judge.policy import JudgePolicy
from nightbench.judge.rule import anchor_of, suspect
from nightbench.judge.series import Direction, Point

__all__ = ["POLICY", "History", "points"]

POLICY = JudgePolicy()
_SHOWN_WITHIN = 0.01
"""Half the interval of a night over its own rounds."""


@dataclass(frozen=True, slots=True)
class History:
    """`nightbench.judge.rule.suspect` with the default policy, where it is firm."""

    name: str = "nightbench, history alone"
    series: int = 1 << 30

    def fires(self, values: NDArray[np.float64], nights: range) -> NDArray[np.int8]:
        fired = np.zeros((len(values), len(nights)), dtype=np.int8)
        for row, series in zip(fired, values, strict=True):
            all_points = points(series)
            anchor = anchor_of(all_points, POLICY)
            for column, night in enumerate(nights):
                change = suspect(all_points[: night + 1], Direction.LOWER, POLICY.min_effect, POLICY, anchor)
                if change is not None and change.firm:
                    row[column] = 1 if change.ratio > 1.0 else -1
        return fired


def points(values: NDArray[np.float64]) -> list[Point]:
    """The nights of one series, called by their numbers."""
    near = (1.0 - _SHOWN_WITHIN, 1.0 + _SHOWN_WITHIN)
    return [Point(str(night), value, *(value * each for each in near)) for night, value in enumerate(values.tolist())]
