"""Measurements that stop when their figures are known as well as was asked; those that never were are refusals."""

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage.processes import Process, bimodal, lognormal, pareto, queue
from benchmarks.coverage.tally import Tally
from nightbench.precision import Precision, first_look_s, next_look_s, reached
from nightbench.stats.quantiles import NotEnough, quantiles
from nightbench.stats.warmup import warmup_cut

__all__ = ["STOPPED", "Stopping", "cover_stopping"]


@dataclass(frozen=True, slots=True)
class Stopping:
    """Measuring 200 values a second until they are known as well as ``precision`` asks, or are ``longest``."""

    process: Process
    precision: Precision
    longest: int
    share: float = 1.0
    """Of the runs asked for: long ones take long."""


_DEFAULT = Precision()
STOPPED = (
    Stopping(lognormal(0.0), _DEFAULT, 20_000),
    Stopping(lognormal(0.0), Precision(0.05, None), 5_000),
    Stopping(lognormal(0.8), _DEFAULT, 120_000, 0.2),
    Stopping(bimodal(0.0), _DEFAULT, 20_000),
    Stopping(bimodal(0.8), _DEFAULT, 100_000, 0.2),
    Stopping(pareto(), _DEFAULT, 40_000),
    Stopping(queue(0.5), Precision(0.05, 0.1), 150_000, 0.4),
    Stopping(queue(0.5), Precision(None, 0.2), 150_000, 0.4),
    Stopping(queue(0.8), Precision(0.05, 0.2), 600_000, 0.2),
)


def cover_stopping(case: Stopping, rng: np.random.Generator, runs: int) -> tuple[dict[float, Tally], float]:
    """Coverage of the final intervals by level, and after how many values measuring stopped: the median."""
    asked = {q: width for q, width in ((0.5, case.precision.p50), (0.99, case.precision.p99)) if width is not None}
    tallies = {q: Tally() for q in asked}
    ends = []
    # Sixteen rows at a time: a good part of the speed of all, and little of the memory.
    drawn = (
        values for done in range(0, runs, 16) for values in case.process.draw(rng, min(16, runs - done), case.longest)
    )
    for values in drawn:
        row = (values * 1e6).astype(np.int64)
        end = _stopped(row, case.precision)
        ends.append(end or len(row))
        found = quantiles(row[warmup_cut(row[:end]).index : end], asked) if end else {}
        for q in asked:
            tallies[q].add(found.get(q, NotEnough(0)), case.process.truth(q) * 1e6)
    return tallies, statistics.median(ends)


def _stopped(row: NDArray[np.int64], precision: Precision) -> int | None:
    at_s = first_look_s(0.0)
    while (end := round(200 * at_s)) <= len(row):
        if reached(row[:end], row[:0], precision):
            return end
        at_s = next_look_s(at_s, 0.0)
    return None
