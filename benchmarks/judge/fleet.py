"""A fleet of simulated series of known truth, judged night by night by the real `nightbench.judge.night`.

Series come in cells, cells in setups, as a night measures them: a re-run costs accordingly (`benchmarks.judge.rerun`).
What slows a server down slows all the series of a cell, so a step is planted in whole cells.

**The series of a cell share most of their noise**, or that several are slower at once would be better evidence here
than it is in truth. Between rounds of the stored nights of the machine this is developed on, the logarithm of
throughput and the negative one of p50 were correlated by 0.4 (36 measurements), 0.98 (24) and 0.9 (12). Here all three
series of a cell are of one source, and in `SHARED` of all stretches of `_STRETCH` nights they are one and the same,
slower together. So every series keeps the distribution it is drawn from. Different cells are independent, which those
of one deployment are not quite in truth (0.1 to 0.7 there).
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
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
"""Two latencies and the throughput of a closed loop, of 3 % the least effect each: p99 has a larger one of its own."""
CELLS_A_SETUP = 6
SHARED = 0.7
_STRETCH = 20
"""Nights; as long as the blocks of the real series (`benchmarks.judge.real`)."""
_METRICS = (Metric.LATENCY_P50_NS, Metric.THROUGHPUT_RPS, Metric.TTFT_P50_NS)
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
        """The middle one of a cell's rows is its throughput, which falls; the others are latencies, which rise."""
        rows = len(step_at)
        values = _drawn(noise, rng, rows, nights) ** _signs(rows)[:, None]
        after = np.arange(nights) >= step_at[:, None]
        return cls(values * np.where(after, 1.0 + (_signs(rows) * size)[:, None], 1.0), step_at, size, noise.modes)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_points", [points(row) for row in self.values])
        object.__setattr__(self, "_anchors", [anchor_of(row, POLICY) for row in self._points])

    @property
    def setups(self) -> int:
        return -(-len(self.values) // (SERIES_A_CELL * CELLS_A_SETUP))

    def key(self, row: int) -> SeriesKey:
        return SeriesKey("simulated", str(row // SERIES_A_CELL), _METRICS[row % SERIES_A_CELL])

    def truth(self, row: int, good: int, tonight: int) -> float:
        """Logarithm of tonight's true level over that of an earlier night."""
        stepped = good < self.step_at[row] <= tonight
        return math.log1p(self.sign(row) * self.size[row]) if stepped else 0.0

    @staticmethod
    def sign(row: int) -> float:
        """Of a change towards worse."""
        return -1.0 if row % SERIES_A_CELL == 1 else 1.0

    def series(self, night: int) -> Iterator[NightSeries]:
        for row, (each, anchor) in enumerate(zip(self._points, self._anchors, strict=True)):
            figure, history = Estimate(each[night].value), SeriesHistory(tuple(each[: night + 1]), anchor)
            # Nothing is measured in a simulation: of a cell only its setup matters.
            cell = cast("Cell", SimpleNamespace(setup=row // (SERIES_A_CELL * CELLS_A_SETUP)))
            yield NightSeries(self.key(row), "", cell, figure, (), history)

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
    return int(key.fingerprint) * SERIES_A_CELL + _METRICS.index(key.metric)


def _drawn(noise: Noise, rng: np.random.Generator, rows: int, nights: int) -> NDArray[np.float64]:
    """More is slower. One long row a cell, all of one source, is cut into what series share and what they do not."""
    cells = -(-rows // SERIES_A_CELL)
    long = noise.draw(rng, cells, (1 + SERIES_A_CELL) * nights).reshape(cells, 1 + SERIES_A_CELL, nights)
    stretches = rng.random((cells, -(-nights // _STRETCH))) < SHARED
    shared = np.repeat(stretches, _STRETCH, axis=1)[:, None, :nights]
    return np.where(shared, long[:, :1], long[:, 1:]).reshape(-1, nights)[:rows]


def _signs(rows: int) -> NDArray[np.float64]:
    return np.where(np.arange(rows) % SERIES_A_CELL == 1, -1.0, 1.0)
