"""A fleet of simulated series of known truth, judged night by night by the real `nightbench.judge.night`.

Series come in cells, cells in setups, as a night measures them: a re-run costs accordingly (`benchmarks.judge.rerun`).
What slows a server down slows all the series of a cell, so a step is planted in whole cells. Their noise is independent
here, which it is not in truth: false suspicions share more of their re-runs than these do.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.noise import Noise
from benchmarks.judge.ours import POLICY, points
from nightbench.figures import Estimate
from nightbench.judge.environment import Machine
from nightbench.judge.night import NightSeries, Seen, changes_of, look
from nightbench.judge.rule import anchor_of
from nightbench.judge.series import Metric, Point, SeriesHistory, SeriesKey
from nightbench.plan import Cell
from nightbench.record import JudgementRecord

__all__ = ["CELLS_A_SETUP", "SERIES_A_CELL", "Fleet", "cells_of", "row_of"]

SERIES_A_CELL = 3
"""Throughput, p50 and p99 of a closed loop."""
CELLS_A_SETUP = 6
_METRICS = (Metric.LATENCY_P50_NS, Metric.THROUGHPUT_RPS)
_STILL = Machine()


@dataclass(frozen=True, slots=True)
class Fleet:
    """``step_at`` of a row is the first night of its step towards worse, beyond the last where it has none."""

    values: NDArray[np.float64]
    """Shape (series, nights)."""
    step_at: NDArray[np.int64]
    size: NDArray[np.float64]
    """Relative, of each row's step."""
    modes: tuple[float, float]
    _points: list[list[Point]] = field(init=False)
    _anchors: list[Estimate | None] = field(init=False)

    @classmethod
    def draw(
        cls, noise: Noise, rng: np.random.Generator, nights: int, step_at: NDArray[np.int64], size: NDArray[np.float64]
    ) -> "Fleet":
        """Odd rows are throughputs, which fall; even ones latencies, which rise."""
        rows = len(step_at)
        values = noise.draw(rng, rows, nights)
        after = np.arange(nights) >= step_at[:, None]
        return cls(values * np.where(after, 1.0 + (_signs(rows) * size)[:, None], 1.0), step_at, size, noise.modes)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_points", [points(row) for row in self.values])
        object.__setattr__(self, "_anchors", [anchor_of(row, POLICY) for row in self._points])

    @property
    def setups(self) -> int:
        return -(-len(self.values) // (SERIES_A_CELL * CELLS_A_SETUP))

    def key(self, row: int) -> SeriesKey:
        return SeriesKey("simulated", str(row), _METRICS[row % 2])

    def truth(self, row: int, good: int, tonight: int) -> float:
        """Logarithm of tonight's true level over that of an earlier night."""
        stepped = good < self.step_at[row] <= tonight
        return float(np.log1p(_signs(row + 1)[row] * self.size[row])) if stepped else 0.0

    def series(self, night: int) -> Iterator[NightSeries]:
        # Nothing is measured in a simulation, so there is no cell to measure.
        nothing = cast("Cell", None)
        for row, (each, anchor) in enumerate(zip(self._points, self._anchors, strict=True)):
            figure, history = Estimate(each[night].value), SeriesHistory(tuple(each[: night + 1]), anchor)
            yield NightSeries(self.key(row), "", nothing, figure, (), history)

    def look(
        self, night: int, past: Mapping[SeriesKey, JudgementRecord], held: Collection[SeriesKey] = frozenset()
    ) -> list[Seen]:
        """What history says of every series on ``night``."""
        series = list(self.series(night))
        return look(series, changes_of(series, POLICY), POLICY, _STILL, past, held)


def cells_of(rng: np.random.Generator, series: int, count: int) -> NDArray[np.int64]:
    """The rows of cells drawn by chance, cell by cell, ``count`` in all; the last may be a part of one."""
    cells = rng.permutation(series // SERIES_A_CELL)[: -(-count // SERIES_A_CELL)]
    return (cells[:, None] * SERIES_A_CELL + np.arange(SERIES_A_CELL)).ravel()[:count]


def row_of(key: SeriesKey) -> int:
    return int(key.fingerprint)


def _signs(rows: int) -> NDArray[np.float64]:
    return np.where(np.arange(rows) % 2, -1.0, 1.0)
