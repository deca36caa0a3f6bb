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
_EVIDENCE = math.log(1000.0)
"""Odds of 1000 to 1, as a logarithm, are proof that a stretch of batches is slow, or calm."""
_CALM_BATCHES = 3
"""No batch gives more than this part of the evidence: fifteen calm requests in a row end every warm-up, five do
not."""
_STRIDES = 8
"""More than any decay took in simulation."""
_DRIFT_BATCHES = 40
"""Enough for a step at two thirds of the run to be told from noise, few enough to be long."""
_DRIFT_P = 1e-3
"""A night asks this of hundreds of cells: at one in a thousand it cries wolf less than once."""
DRIFT_EFFECT = 0.05
"""Least drift over the whole remainder, as a share of its median, that counts: long runs make any drift
significant, and one smaller than this changes no decision."""
_WINSORISED = 0.05
_NOTHING = np.empty(0)


@dataclass(frozen=True, slots=True)
class Cut:
    """``values[index:]`` is what is left. ``stationary`` is false where there is evidence of unrest, told in
    ``detail``; ``needed`` is how many values it would take to look for it, where these were too few."""

    index: int
    stationary: bool
    detail: str = ""
    needed: int | None = None


def warmup_cut(values: NDArray[np.number], before: NDArray[np.number] = _NOTHING) -> Cut:
    """The end of the initial transient of ``values``, shape (n,), in order of time; in O(n).

    MSER-5 cuts where the standard error of what is left is smallest, over means of batches of five: White,
    "An Effective Truncation Heuristic for Bias Reduction in Simulation Output", Simulation 69 (1997);
    Franklin & White, "Stationarity Tests and MSER-5", WSC 2008. Only the first half is searched, for near the
    end the statistic is small by accident; a minimum at that edge means that no steady state was reached
    (Hoad, Robinson & Davies, JORS 61, 2010, choose the rule for the same reason).

    MSER assumes that whatever is odd in the first half is a beginning. A server that stalls after a calm start
    breaks that, and the cut would hide the stall. So the search ends where calm was first established
    (`_calm_from`): a warm-up is slow from the start, and what comes after calm is data. ``before`` holds the
    values of a minimum warm-up that the caller leaves out anyway: calm seen there counts. In simulation 1 in 2,000
    stalls of twenty requests or more was still cut after fifty calm requests, 1 in 15,000 of thirty or more after
    a hundred.

    Values are first winsorised at the 5th and 95th percentile of the second half, which is steady if anything
    is: one garbage collection early in the run would otherwise be taken for a warm-up, and one late would hide
    it, whereas a transient is many values on one side and keeps them there. Means of clipped values are
    preferred to medians of batches because those of a bimodal server jump between its modes.

    The remainder is then tested for drift (`_drift`). A cut of zero means that no transient was seen.
    Fewer than `FEWEST_VALUES` are left as they are: too little data is no evidence of unrest.
    """
    if len(values) < FEWEST_VALUES:
        return Cut(0, True, needed=FEWEST_VALUES)
    low, high = np.quantile(values[len(values) // 2 :], (_WINSORISED, 1.0 - _WINSORISED))
    batches = _batch_means(values, low, high)
    searched = len(batches) // 2
    best = int(np.argmin(_mser(batches)[: searched + 1]))
    calm = _calm_from(_batch_means(before[len(before) % _BATCH :], low, high), batches, best)
    if calm < best:
        best = calm
    elif best > (1.0 - _EDGE) * searched:
        detail = f"no steady state within {len(values)} values: the warm-up outlasts half the run"
        return Cut(best * _BATCH, False, detail)
    index = best * _BATCH
    drift = _drift(values[index:])
    if drift is not None:
        return Cut(index, False, f"after the warm-up the level moved by {drift:+.0%} of its median")
    return Cut(index, True)


def _batch_means(values: NDArray[np.number], low: float, high: float) -> NDArray[np.float64]:
    """Means of five at a time, of values clipped to [low, high]; odd ones at the end drop out."""
    clipped = np.clip(values[: len(values) // _BATCH * _BATCH], low, high)
    means: NDArray[np.float64] = clipped.reshape(-1, _BATCH).mean(axis=1, dtype=np.float64)
    return means


def _mser(batches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared standard error of the mean of ``batches[k:]``, for every k."""
    # Centred, so that the difference of the two sums keeps its digits.
    tail = (batches - batches.mean())[::-1]
    count = np.arange(1, len(tail) + 1)
    squares = np.cumsum(tail**2) - np.cumsum(tail) ** 2 / count
    return (np.maximum(squares, 0.0) / count**2)[::-1]


def _calm_from(before: NDArray[np.float64], batches: NDArray[np.float64], cut: int) -> int:
    """The batch from which the steady level was held, at most ``cut``; 0 if it was held from the start.

    A decay is followed in strides: what is calm against its height may be slow against its tail.
    """
    steady = batches[len(batches) // 2 :]
    # A stall in the second half moves neither median.
    level = float(np.median(steady))
    spread = 1.4826 * float(np.median(np.abs(steady - level)))
    began, earlier = 0, before - level
    for _ in range(_STRIDES):
        removed = batches[began:cut] - level
        stride = _stride(earlier, removed, spread)
        began, earlier = began + stride, earlier[:0]
        if stride in {0, len(removed)}:
            break
    return began


def _stride(earlier: NDArray[np.float64], removed: NDArray[np.float64], spread: float) -> int:
    """How many batches of ``removed``, as distances from the steady level, pass before calm begins.

    Page's test ("Continuous Inspection Schemes", Biometrika 41, 1954) between the steady level and that of
    ``removed``. It adds up the log-likelihood ratio of calm against slow, beginning again whenever that falls below
    zero, until `_EVIDENCE` is reached; calm began where the sum last was zero. The level of ``removed`` is a root
    mean square, which calm batches before a stall dilute less than a mean. No calm is needed where ``removed`` as
    a whole is no proof of anything else.
    """
    if not len(removed):
        return 0
    step = math.sqrt(max(0.0, float((removed**2).mean()) - spread**2))
    if len(removed) * step**2 / 2.0 <= _EVIDENCE * spread**2:
        return 0
    side = math.copysign(1.0, float(removed.mean()))
    # Below a hundredth of the step every batch gives all the evidence it may, and zero must not divide.
    variance = max(spread, step / 100.0) ** 2
    most = _EVIDENCE / _CALM_BATCHES
    seen = side * np.concatenate([earlier, removed])
    total, began = 0.0, 0
    for index, gain in enumerate(np.clip(step * (step - 2.0 * seen) / (2.0 * variance), -most, most).tolist(), 1):
        total += gain
        if total <= 0.0:
            total, began = 0.0, index
        elif total >= _EVIDENCE * (1.0 - 1e-9):
            return max(0, began - len(earlier))
    return len(removed)


def _drift(values: NDArray[np.number]) -> float | None:
    """How far the level moved from the start to the end, as a share of its median, or ``None`` if it did not.

    Mann-Kendall's test (Mann 1945; Kendall, "Rank Correlation Methods", 1975) on the means of forty long
    batches, which are nearly independent where single values are not, and the Theil-Sen slope (Sen 1968) as
    the effect. Both must be more than noise and more than trifling. Steady simulated series were called
    unsteady 0 to 5 times in 3000, of 320 values or 4000, heavy tails and two modes included; batches of eight
    values with an autocorrelation of 0.9 are not independent, and there it was 130 (2 with 4000 values).
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
