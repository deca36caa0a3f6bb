"""One figure out of several independent deployments."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.stats.distributions import student_t_quantile

__all__ = ["Spread", "combine", "spread_of"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How much independent deployments differ: the variance of a figure's logarithm, and how well it is known."""

    variance: float
    dof: float


def combine(estimates: Sequence[Estimate], confidence: float = 0.95, spread: Spread | None = None) -> Estimate:
    """The mean over independent deployments, with an interval from how much *they* differ.

    Deployments are the replicates, not requests: a restart moves a server's figures by more than the requests
    of one deployment can show (Georges, Buytaert & Eeckhout, "Statistically Rigorous Java Performance
    Evaluation", OOPSLA 2007; Kalibera & Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013).
    So the interval is Student's t on the estimates' own spread, with one degree of freedom less than rounds.
    Means and spreads are of logarithms when all values are positive, since deployments differ by factors; the
    value then is the geometric mean.

    Two rounds give t = 12.7: a wide interval, and an honest one, for two figures say almost nothing about
    spread. Three give 4.3, five 2.8. ``spread`` replaces the estimates' own where more is known
    (`nightbench.stats.moderate`); it needs positive values. Rounds that agree by luck must not look exact either,
    so the interval is never narrower than the one their own intervals imply for the mean. Where deployments truly
    do not differ that floor makes it conservative (`benchmarks/coverage` has the figures); it never makes it
    too short.

    ``estimates`` hold intervals of the same ``confidence``. One alone is returned as it is; none is a
    `ValueError`.
    """
    if not estimates:
        raise ValueError("there is nothing to combine")
    if len(estimates) == 1:
        return estimates[0]
    # Sorted, so that the order of rounds does not touch the last digit.
    rounds = sorted(estimates, key=lambda each: (each.value, each.low or 0.0, each.high or 0.0))
    logarithmic = all(each.value > 0.0 for each in rounds)
    values = np.array([each.value for each in rounds], dtype=np.float64)
    if logarithmic:
        values = np.log(values)
    count, mean = len(rounds), float(values.mean())
    if spread is None:
        spread = Spread(float(values.var(ddof=1)), count - 1)
    elif not logarithmic:
        raise ValueError("a spread of logarithms says nothing about values that are not all positive")
    between = student_t_quantile(0.5 + confidence / 2.0, spread.dof) * math.sqrt(spread.variance / count)
    within = _within(rounds, values, logarithmic=logarithmic) / count
    half = max(between, within)
    if logarithmic:
        return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
    low = mean - half
    return Estimate(mean, max(0.0, low) if values.min() >= 0.0 else low, mean + half)


def spread_of(estimates: Sequence[Estimate]) -> Spread | None:
    """What these deployments alone say of their spread; ``None`` of fewer than two or of values not positive."""
    if len(estimates) < 2 or any(each.value <= 0.0 for each in estimates):
        return None
    return Spread(float(np.log([each.value for each in estimates]).var(ddof=1)), len(estimates) - 1.0)


def _within(rounds: Sequence[Estimate], values: NDArray[np.float64], *, logarithmic: bool) -> float:
    """Root of the sum of squared half-widths of the rounds' own intervals, on the scale of ``values``.

    A round with one bound is judged by that side, one without bounds adds nothing.
    """
    squares = 0.0
    for each, value in zip(rounds, values, strict=True):
        sides = []
        if each.low is not None and (not logarithmic or each.low > 0.0):
            sides.append(value - (math.log(each.low) if logarithmic else each.low))
        if each.high is not None:
            sides.append((math.log(each.high) if logarithmic else each.high) - value)
        if sides:
            squares += (sum(sides) / len(sides)) ** 2
    return math.sqrt(squares)
