"""Cells whose latencies have two places to be, and none between."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.stats.autocorrelation import long_run_variance

__all__ = ["Modes", "modes"]

_FEWEST = 200
_MOST = 1 << 17
"""More values are thinned evenly: their shape is known well enough."""
_VALUES_A_BIN = 20
_MOST_BINS = 96
_LEAST_SHARE = 0.05
_LEAST_RATIO = 1.05
"""Of the two places. What differs by less changes no decision (`nightbench.stats.warmup.DRIFT_EFFECT`)."""
_DEPTH = 6.0
"""How much denser both modes must be than the valley. Two normal humps 4.7 sigma apart are. A queue with constant
service is not, though its requests either wait or do not: up to 5 in the limit of heavy load."""
_SIGMAS = 4.0
_APART = 0.8
"""Difference of the slow mode's share between the first and the last third that makes it a matter of time."""
_RUNS = 0.5
"""Of the changes between modes that chance would bring: with fewer the modes come in runs."""
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Modes:
    """Two modes, the fast one first: their places (medians) and what happens between them, in words."""

    fast_ns: float
    slow_ns: float
    slow_share: float
    detail: str


def modes(values_ns: NDArray[np.number]) -> Modes | None:
    """The two modes of latencies in order of time, shape (n,); ``None`` where one, or too few values, are seen.

    Bimodal means a valley in the density of the logarithm: a place with `_LEAST_SHARE` of the values or more on either
    side, and on either side a place `_DEPTH` times as dense, by more than chance. The dip test (Hartigan & Hartigan,
    "The Dip Test of Unimodality", Annals of Statistics 13, 1985) asks only whether there is a valley, however
    shallow, and takes values to be independent. Here the chance is that of Poisson counts in windows, enlarged by the
    correlation that is left within the modes, so that runs of one mode do not count against it. `benchmarks/alarms.py`
    has the false alarms: none in 400 cells of any unimodal shape, correlated and rounded ones included.

    Modes that take turns in long runs, or one after the other, are told from those that mix request by request: the
    former are states of the machine, such as clocks (github.com/newton-physics/newton, issue 2534), the latter kinds
    of requests or answers.
    """
    kept = values_ns[:: math.ceil(len(values_ns) / _MOST)] if len(values_ns) else values_ns
    kept = kept[kept > 0]
    if len(kept) < _FEWEST:
        return None
    logs = np.log(_without_ties(kept))
    valley = _valley(logs)
    if valley is None:
        return None
    slow = logs > valley
    fast_ns, slow_ns = (float(np.exp(np.median(logs[side]))) for side in (~slow, slow))
    if slow_ns < _LEAST_RATIO * fast_ns:
        return None
    share = float(slow.mean())
    places = (
        f"two modes: {1 - share:.0%} of the latencies lie about {fast_ns / _NS_PER_MS:.3g} ms "
        f"and {share:.0%} about {slow_ns / _NS_PER_MS:.3g} ms"
    )
    return Modes(fast_ns, slow_ns, share, f"{places}, {_order(slow, len(values_ns))}")


def _without_ties(values: NDArray[np.number]) -> NDArray[np.float64]:
    """Equal values spread over the least distance between any: a coarse clock leaves valleys between its ticks."""
    spread = values.astype(np.float64)
    order = np.argsort(spread, kind="stable")
    distinct, first, counts = np.unique(spread[order], return_index=True, return_counts=True)
    if len(distinct) < 2 or len(distinct) > len(values) / 2:
        return spread
    tick = float(np.diff(distinct).min())
    within = (np.arange(len(values)) - np.repeat(first, counts) + 0.5) / np.repeat(counts, counts)
    spread[order] += (within - 0.5) * tick
    return np.maximum(spread, tick / 4.0)


def _valley(logs: NDArray[np.float64]) -> float | None:
    """The place in ``logs`` where the density is lowest between two modes, or ``None`` if it has one mode."""
    low, high = np.quantile(logs, (_LEAST_SHARE / 5.0, 1.0 - _LEAST_SHARE / 5.0))
    bins = min(_MOST_BINS, len(logs) // _VALUES_A_BIN)
    if not high > low:
        return None
    counts, edges = np.histogram(logs, bins, range=(float(low), float(high)))
    # Three bins together; the ones at the edges have two.
    density = np.convolve(counts, np.ones(3), mode="same")
    left = np.maximum.accumulate(density)
    right = np.maximum.accumulate(density[::-1])[::-1]
    peak = np.minimum(left, right)
    below = (np.searchsorted(np.sort(logs), edges[1:-1])) / len(logs)
    inside = np.zeros(bins, dtype=np.bool_)
    inside[1:-1] = (below[:-1] >= _LEAST_SHARE) & (below[1:] <= 1.0 - _LEAST_SHARE)
    excess = np.where(inside, peak - _DEPTH * density, -np.inf)
    at = int(np.argmax(excess))
    if excess[at] <= 0.0:
        return None
    valley = float((edges[at] + edges[at + 1]) / 2.0)
    worth = _correlation(logs, logs > valley)
    chance = math.sqrt(worth * float(peak[at] + _DEPTH**2 * max(density[at], 1.0)))
    return valley if excess[at] > _SIGMAS * chance else None


def _correlation(logs: NDArray[np.float64], slow: NDArray[np.bool_]) -> float:
    """How many values say as much as one independent value, by what is left when each mode is put at zero."""
    rest = logs - np.where(slow, logs[slow].mean(), logs[~slow].mean())
    variance = float(rest.var())
    return max(1.0, long_run_variance(rest).variance / variance) if variance > 0.0 else 1.0


def _order(slow: NDArray[np.bool_], count: int) -> str:
    """How the modes follow each other in time."""
    third = len(slow) // 3
    early, late = float(slow[:third].mean()), float(slow[-third:].mean())
    if abs(late - early) >= _APART:
        return (
            "the fast ones first and the slow ones later"
            if late > early
            else "the slow ones first and the fast ones later"
        )
    share = float(slow.mean())
    changes = int(np.count_nonzero(slow[1:] != slow[:-1]))
    if changes < _RUNS * 2.0 * share * (1.0 - share) * len(slow):
        return f"in runs of about {count / (changes + 1):.0f} requests"
    return "mixed request by request"
