"""Where the warm-up ends, and whether what follows stands still."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.stats.distributions import normal_quantile

__all__ = ["DRIFT_EFFECT", "FEWEST_VALUES", "Cut", "warmup_cut"]

FEWEST_VALUES = 100
"""Twenty batches of five: below this neither the cut nor a drift can be told from noise."""
_BATCH = 5
"""The 5 of MSER-5."""
_EDGE = 0.05
"""A minimum in this last part of the searched half counts as lying at its edge."""
_DRIFT_BATCHES = 40
"""Enough for a step at two thirds of the run to be told from noise, few enough to be long."""
_DRIFT_P = 1e-3
"""A night asks this of hundreds of cells: at one in a thousand it cries wolf less than once."""
DRIFT_EFFECT = 0.05
"""Least drift over the whole remainder, as a share of its median, that counts: long runs make any drift
significant, and one smaller than this changes no decision."""
_WINSORISED = 0.05


@dataclass(frozen=True, slots=True)
class Cut:
    """``values[index:]`` is what is left; ``stationary`` whether it may be called steady, ``detail`` why not."""

    index: int
    stationary: bool
    detail: str = ""


def warmup_cut(values: NDArray[np.number]) -> Cut:
    """The end of the initial transient of ``values``, shape (n,), in order of time; in O(n).

    MSER-5 cuts where the standard error of what is left is smallest, over means of batches of five: White,
    "An Effective Truncation Heuristic for Bias Reduction in Simulation Output", Simulation 69 (1997);
    Franklin & White, "Stationarity Tests and MSER-5", WSC 2008. Only the first half is searched, for near the
    end the statistic is small by accident; a minimum at that edge means that no steady state was reached
    (Hoad, Robinson & Davies, JORS 61, 2010, choose the rule for the same reason).

    Values are first winsorised at the 5th and 95th percentile of the second half, which is steady if anything
    is: one garbage collection early in the run would otherwise be taken for a warm-up, and one late would hide
    it, whereas a transient is many values on one side and keeps them there. Means of clipped values are
    preferred to medians of batches because those of a bimodal server jump between its modes.

    The remainder is then tested for drift (`_drift`). A cut of zero requires no transient to have been seen.
    A minimum warm-up is the caller's: give what lies behind it.
    """
    if len(values) < FEWEST_VALUES:
        return Cut(0, False, f"{len(values)} values cannot show a steady state, {FEWEST_VALUES} can")
    clipped = _winsorised(values, reference=values[len(values) // 2 :])
    batches = clipped[: len(values) // _BATCH * _BATCH].reshape(-1, _BATCH).mean(axis=1)
    searched = len(batches) // 2
    best = int(np.argmin(_mser(batches)[: searched + 1]))
    index = best * _BATCH
    if best > (1.0 - _EDGE) * searched:
        return Cut(index, False, f"no steady state within {len(values)} values: the warm-up outlasts half the run")
    drift = _drift(values[index:])
    if drift is not None:
        return Cut(index, False, f"the level moved by {drift:+.0%} after the warm-up")
    return Cut(index, True)


def _mser(batches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared standard error of the mean of ``batches[k:]``, for every k."""
    # Centred, so that the difference of the two sums keeps its digits.
    tail = (batches - batches.mean())[::-1]
    count = np.arange(1, len(tail) + 1)
    squares = np.cumsum(tail**2) - np.cumsum(tail) ** 2 / count
    return (np.maximum(squares, 0.0) / count**2)[::-1]


def _drift(values: NDArray[np.number]) -> float | None:
    """How far the level moved from the start to the end, as a share of its median, or ``None`` if it did not.

    Mann-Kendall's test (Mann 1945; Kendall, "Rank Correlation Methods", 1975) on the means of forty long
    batches, which are nearly independent where single values are not, and the Theil-Sen slope (Sen 1968) as
    the effect. Both must be more than noise and more than trifling.
    """
    edges = np.linspace(0, len(values), _DRIFT_BATCHES + 1).astype(np.int64)
    means = np.add.reduceat(_winsorised(values, reference=values), edges[:-1]) / np.diff(edges)
    n = len(means)
    earlier, later = np.triu_indices(n, 1)
    rises = means[later] - means[earlier]
    score = float(np.sign(rises).sum())
    _, ties = np.unique(means, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18.0
    if variance <= 0.0 or abs(score) - 1.0 < normal_quantile(1.0 - _DRIFT_P / 2.0) * math.sqrt(variance):
        return None
    moved = float(np.median(rises / (later - earlier))) * (n - 1)
    level = abs(float(np.median(means)))
    return moved / level if level > 0.0 and abs(moved) > DRIFT_EFFECT * level else None


def _winsorised(values: NDArray[np.number], reference: NDArray[np.number]) -> NDArray[np.float64]:
    """``values`` clipped to the middle nine tenths of ``reference``."""
    low, high = np.quantile(reference, (_WINSORISED, 1.0 - _WINSORISED))
    return np.clip(values.astype(np.float64), low, high)
