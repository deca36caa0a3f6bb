"""Quantiles with intervals that know the samples are correlated, and refusal where there are too few."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.stats.autocorrelation import long_run_variance
from nightbench.stats.distributions import normal_quantile, order_rank, student_t_quantile

__all__ = ["TAIL_SAMPLES", "NotEnough", "quantile", "quantiles"]

TAIL_SAMPLES = 5.0
"""Independent values a quantile needs on its thinner side. An upper 95 % bound exists from 3.7 of them
(q^n <= 0.025); with five the point itself is known to about 45 % of its tail probability, and with fewer
it is little more than the largest value seen."""

_CLUSTER_EVIDENCE = 50
"""Values beyond a threshold from which their clustering can be read."""


@dataclass(frozen=True, slots=True)
class NotEnough:
    """The samples cannot carry the quantile; about ``needed`` in all, as correlated as these, could.

    ``seen`` is the quantile of the samples themselves where they are many but come in clusters: what happened
    once, say a stall. It is true of these samples, and says little about the next. ``None`` where they are few.
    """

    needed: int
    seen: float | None = None


def quantile(values: NDArray[np.number], q: float, confidence: float = 0.95) -> Estimate | NotEnough:
    """The ``q``-quantile of a stationary sequence in order of time, 0 < q < 1; see `quantiles`."""
    return quantiles(values, (q,), confidence)[q]


def quantiles(
    values: NDArray[np.number],
    levels: Iterable[float],
    confidence: float = 0.95,
    tail_samples: float = TAIL_SAMPLES,
) -> dict[float, Estimate | NotEnough]:
    """Several quantiles of one stationary sequence, ``values`` of shape (n,) in order of time.

    The point is what `numpy.quantile` gives (Hyndman & Fan 1996, type 7). The interval lies between two order
    statistics, so it assumes nothing about the distribution and is skewed where the data are.

    Correlation enters through the indicator 1{x <= x_q}: the variance of its mean is what moves a sample
    quantile (Heidelberger & Lewis, "Quantile Estimation in Dependent Sequences", Operations Research 32, 1984;
    Chen & Kelton, "Quantile and Tolerance-Interval Estimation in Simulation", EJOR 168, 2006). Its long-run
    variance makes n samples worth n_eff independent ones, as in Vehtari et al., "Rank-Normalization, Folding,
    and Localization", Bayesian Analysis 16 (2021), section 4; n_eff is reduced by (z/t)^2 for being itself
    an estimate. Ranks come from the binomial law of n_eff (`order_rank`), scaled to n. A bound that would lie
    beyond the smallest or largest sample is ``None``.

    A quantile with fewer than ``tail_samples`` effective samples on its thinner side is `NotEnough`.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie inside (0, 1), not {confidence}")
    ordered = np.sort(values)
    return {q: _one(values, ordered, q, confidence, tail_samples) for q in levels}


def _one(
    values: NDArray[np.number], ordered: NDArray[np.number], q: float, confidence: float, tail_samples: float
) -> Estimate | NotEnough:
    if not 0.0 < q < 1.0:
        raise ValueError(f"a quantile's level must lie inside (0, 1), not {q}")
    n, thin = len(ordered), min(q, 1.0 - q)
    # The slack keeps 100 values enough for p95 although 1 - 0.95 is a little more than 0.05.
    if n * thin < tail_samples - 1e-9:
        return NotEnough(math.ceil(tail_samples / thin - 1e-6))
    position = q * (n - 1)
    size, dof = _effective_size(values, ordered, int(position))
    if size * thin < tail_samples - 1e-9:
        return NotEnough(math.ceil(tail_samples / thin * n / size - 1e-6), seen=_at(ordered, position))
    tail = (1.0 - confidence) / 2.0
    size *= (normal_quantile(1.0 - tail) / student_t_quantile(1.0 - tail, dof)) ** 2
    stretch = (n + 1.0) / (size + 1.0)
    low = order_rank(size, q, 1.0 - tail) * stretch - 1.0
    high = order_rank(size, q, tail) * stretch - 1.0
    return Estimate(
        value=_at(ordered, position),
        low=_at(ordered, min(low, position)) if low >= 0.0 else None,
        high=_at(ordered, max(high, position)) if high <= n - 1 else None,
    )


def _effective_size(values: NDArray[np.number], ordered: NDArray[np.number], position: int) -> tuple[float, float]:
    """How many independent samples 1{x <= ordered[position]} is worth, and the degrees of freedom of that.

    A handful of values beyond a threshold cannot show that they come in clusters, and samples that happen to
    hide it would be the ones accepted. So correlation is also read where `_CLUSTER_EVIDENCE` values lie beyond,
    and the worse of the two counts.
    """
    n = len(ordered)
    moderate = min(max(position, _CLUSTER_EVIDENCE), max(n - 1 - _CLUSTER_EVIDENCE, _CLUSTER_EVIDENCE))
    return min(_indicator_size(values, ordered[at]) for at in {position, min(moderate, n - 1)})


def _indicator_size(values: NDArray[np.number], threshold: np.number) -> tuple[float, float]:
    n = len(values)
    below = values <= threshold
    if below.all():  # ties reach to the maximum: look at the other side of the step
        below = values < threshold
    share = float(below.mean())
    run = long_run_variance(below.astype(np.float64))
    if run.variance <= 0.0:
        return float(n), math.inf
    return min(float(n), n * share * (1.0 - share) / run.variance), run.dof


def _at(ordered: NDArray[np.number], position: float) -> float:
    """The ordered values at a fractional position counted from 0, interpolated between neighbours."""
    below = int(position)
    left = float(ordered[below])
    fraction = position - below
    return left if fraction == 0.0 else left + fraction * (float(ordered[below + 1]) - left)
