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


def throughput(done_ns: NDArray[np.int64], start_ns: int, end_ns: int, confidence: float = 0.95) -> Estimate:
    """Events a second in [start_ns, end_ns), from the times they were done, in any order.

    The span is cut into equal windows; the interval is Student's t on the windows' counts, whose long-run
    variance takes in that a slow spell outlasts a window (`long_run_variance`; on batch means see Law,
    "Simulation Modeling and Analysis", 9.5.3).

    Fewer than 50 events are taken as a Poisson count instead, with its exact interval: arrivals more even than
    that, as in a closed loop, make it wide rather than short. No event at all gives 0 with an upper bound. An
    empty span gives 0 without bounds.
    """
    if end_ns <= start_ns:
        return Estimate(0.0)
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
