"""Quantiles of one deployment, and of several together."""

import numpy as np

from benchmarks.coverage.processes import Process
from benchmarks.coverage.tally import Tally
from nightbench.figures import Estimate
from nightbench.stats.combine import combine
from nightbench.stats.quantiles import NotEnough, quantile, quantiles

__all__ = ["LEVELS", "cover_combined", "cover_quantiles"]

LEVELS = (0.5, 0.95, 0.99)


def cover_quantiles(process: Process, rng: np.random.Generator, runs: int, n: int) -> dict[float, Tally]:
    """Coverage of the within-deployment quantile intervals over ``runs`` independent runs of ``n`` values."""
    tallies = {q: Tally() for q in LEVELS}
    for row in process.draw(rng, runs, n):
        for q, answer in quantiles(row, LEVELS).items():
            tallies[q].add(answer, process.truth(q))
    return tallies


def cover_combined(
    process: Process, rng: np.random.Generator, runs: int, n: int, *, rounds: int, between: float, q: float
) -> Tally:
    """Coverage of the combined interval when each deployment is slower or faster as a whole by a lognormal
    factor of sigma ``between``."""
    tally = Tally()
    values = process.draw(rng, runs * rounds, n).reshape(runs, rounds, n)
    values *= np.exp(between * rng.standard_normal((runs, rounds, 1)))
    for deployments in values:
        answers = [quantile(row, q) for row in deployments]
        estimates = [answer for answer in answers if isinstance(answer, Estimate)]
        tally.add(combine(estimates) if len(estimates) == rounds else NotEnough(0), process.truth(q))
    return tally
