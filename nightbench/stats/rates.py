"""Events a second, with an interval that knows that slow spells last."""

import math

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.stats.autocorrelation import long_run_variance
from nightbench.stats.distributions import poisson_interval, student_t_quantile

__all__ = ["throughput"]

_FEW = 50
"""Below this many events windows hold too few to show their own spread."""
_FEWEST_WINDOWS = 10
_MOST_WINDOWS = 512
_EVENTS_A_WINDOW = 10
_FEWEST_CORRELATED = 4
"""Rounds from which `long_run_variance` can look for correlation."""
_PLAINLY = 0.5
_PLAINLY_OF_FEW = 0.2
"""Of the plain interval's width: rounds are used where they are much evener. To take whichever interval happens to be
narrower would be to prefer luck, and two rounds are alike by luck often. `benchmarks/coverage` has the coverage."""


def throughput(
    done_ns: NDArray[np.int64], start_ns: int, end_ns: int, confidence: float = 0.95, clients: int | None = None
) -> Estimate:
    """Events a second in [start_ns, end_ns), from the times they were done, in any order.

    The span is cut into equal windows; the interval is Student's t on the windows' counts, whose long-run
    variance takes in that a slow spell outlasts a window (`long_run_variance`; on batch means see Law,
    "Simulation Modeling and Analysis", 9.5.3).

    Fewer than 50 events are taken as a Poisson count instead, with its exact interval: arrivals more even than
    that, as in a closed loop, make it wide rather than short. No event at all gives 0 with an upper bound. An
    empty span gives 0 without bounds.

    ``clients`` is the number of clients in a closed loop. They wait for one another's answers where a server answers
    batches, so events come in lumps that are more even than their counts: what one window lacks the next one has.
    `_by_rounds` credits that. Batches that come at random are less even than their events: with fewer than twenty of
    them the interval covers 70-90 % (`benchmarks/coverage`).
    """
    if end_ns <= start_ns:
        return Estimate(0.0)
    plain = _by_windows(done_ns, start_ns, end_ns, confidence)
    if clients is None:
        return plain
    inside = done_ns[(done_ns >= start_ns) & (done_ns <= end_ns)]
    inside.sort()
    rounds_ns = np.diff(inside[::clients]).astype(np.float64)
    if len(rounds_ns) < 2 or not rounds_ns.any():
        return plain
    even = _by_rounds(rounds_ns, clients, confidence)
    plainly = _PLAINLY if len(rounds_ns) >= _FEWEST_CORRELATED else _PLAINLY_OF_FEW
    return even if _width(even) < plainly * _width(plain) else plain


def _by_rounds(rounds_ns: NDArray[np.float64], clients: int, confidence: float) -> Estimate:
    """From the times that two or more rounds of ``clients`` events took.

    In each round every client has had one answer on average, so its time is a cycle of the closed loop, and the rate
    the reciprocal of the mean cycle (renewal-reward; Cox, "Renewal Theory", 1962). Whole rounds run from an event to an
    event and are not cut by the span's edges, so an event at ``end_ns`` may be the last.
    """
    count = len(rounds_ns)
    if count < _FEWEST_CORRELATED:
        variance, dof = float(rounds_ns.var(ddof=1)), count - 1.0
    else:
        run = long_run_variance(rounds_ns)
        variance, dof = run.variance, run.dof
    mean = float(rounds_ns.mean())
    rate = clients / mean * 1e9
    half = student_t_quantile(0.5 + confidence / 2.0, dof) * math.sqrt(variance / count) / mean * rate
    return Estimate(rate, max(0.0, rate - half), rate + half)


def _width(estimate: Estimate) -> float:
    return math.inf if estimate.low is None or estimate.high is None else estimate.high - estimate.low


def _by_windows(done_ns: NDArray[np.int64], start_ns: int, end_ns: int, confidence: float) -> Estimate:
    seconds = (end_ns - start_ns) * 1e-9
    offsets = done_ns[(done_ns >= start_ns) & (done_ns < end_ns)] - start_ns
    events = len(offsets)
    if events < _FEW:
        low, high = poisson_interval(events, confidence)
        return Estimate(events / seconds, low / seconds, high / seconds)
    windows = max(_FEWEST_WINDOWS, min(_MOST_WINDOWS, events // _EVENTS_A_WINDOW))
    edges = np.arange(1, windows, dtype=np.float64) * ((end_ns - start_ns) / windows)
    counts = np.bincount(np.searchsorted(edges, offsets, side="right"), minlength=windows)
    run = long_run_variance(counts.astype(np.float64))
    half = student_t_quantile(0.5 + confidence / 2.0, run.dof) * math.sqrt(run.variance / windows)
    rate, half_rate = events / seconds, half * windows / seconds
    return Estimate(rate, max(0.0, rate - half_rate), rate + half_rate)
