"""Whether an open loop asks more of a server than it will ever answer."""

import math

import numpy as np
from numpy.typing import NDArray

from nightbench.load import Arrival, OpenLoop, Step
from nightbench.stats.autocorrelation import long_run_variance

__all__ = ["over_saturated", "steady"]

_LEAST_S = 10.0
"""A slow start, a collection of garbage or a checkpoint lasts seconds. What lasts longer is the server."""
_LEAST_WAITING = 32
_FIRST = 16
"""Requests whose median latency is taken for that of an idle server."""
_FILLED = 8.0
"""So many of those latencies must have passed. Until then requests pile up in any server: they come and none is
ready to leave."""
_STEPS = 8
"""Parts of the time, of which each in the later half must have left more requests waiting."""
_LEAST_STEP = 0.25
"""Of the mean growth, in each of those parts: what slows down that much may settle."""
_BACKLOG_SIGMAS = 4.0
_GROWTH_SIGMAS = 2.5
_BINS = 128
_LEAST_WAIT = 0.5
"""Of the wait that the backlog means for whoever comes last: servers that do not answer in order spread it."""


def steady(load: Step) -> bool:
    """Whether `over_saturated` may be asked about ``load``: an open loop whose rate is the same throughout.

    A recorded trace has busy spells. One that asks too much for a while and drains in the next lull is what the trace
    is sent for, and while it lasts no backlog tells it from a hopeless load.
    """
    return isinstance(load, OpenLoop) and load.arrival is not Arrival.TRACE


def over_saturated(due_ns: NDArray[np.int64], done_ns: NDArray[np.int64], start_ns: int, now_ns: int) -> str | None:
    """Why the load is hopeless, in words; ``None`` while there is hope, or too little to see.

    ``due_ns`` holds the intended times of the requests due in [start_ns, now_ns], ascending; ``done_ns``, of the same
    shape, when each was answered, errors included, and 0 where it was not: it still waits, or the client gave it up
    at its timeout, which took no work off the server.

    The null hypothesis is the busiest server that keeps up, whose backlog is a random walk reflected at zero: by
    chance it reaches a few times sigma sqrt(t), where sigma^2 is the long-run variance of arrivals and answers a
    second (the diffusion limit of a queue in heavy traffic: Kingman 1962; Whitt, "Stochastic-Process Limits", 2002,
    ch. 9). A hopeless one has a backlog that grows as t. So it is called hopeless when, after `_LEAST_S`

    - more requests wait than chance explains, and more than `_LEAST_WAITING`;
    - the later half of the time added more of them than chance explains;
    - every part of that half added some, so that it was no stall, whose backlog comes at once and then drains;
    - what was answered in the last of those parts had waited about as long as the backlog takes to come, which is how
      long the last of a queue waits (Little 1961): answers that are lost pile up as well, and nobody waits behind them;
    - an idle server's latency has passed `_FILLED` times.

    Bursty arrivals have a large sigma, and are judged the more slowly. `benchmarks/alarms.py` has the figures: no
    false alarm in 400 runs of any server that keeps up, or keeps up and loses answers, and 10 s where a tenth too much
    is asked of one that answers 1000 a second. GuideLLM asks for significant slopes of concurrency and time to first
    token after 30 s at least (github.com/vllm-project/guidellm, issue 242); it mistook the filling of
    a server with long answers for saturation (issue 606), which the last rule is for.
    """
    seconds = (now_ns - start_ns) * 1e-9
    answered = done_ns > 0
    if seconds < _LEAST_S or len(due_ns) - np.count_nonzero(answered) < _LEAST_WAITING:
        return None
    first_ns = np.where(answered[:_FIRST], done_ns[:_FIRST], now_ns) - due_ns[:_FIRST]
    if seconds < _FILLED * float(np.median(first_ns)) * 1e-9:
        return None
    edges = np.linspace(start_ns, now_ns, 2 * _BINS + 1).astype(np.int64)
    came = np.searchsorted(due_ns, edges, side="right")
    went = np.searchsorted(np.sort(done_ns[answered]), edges, side="right")
    waiting = came - went
    steps = np.diff(waiting[:: 2 * _BINS // _STEPS])
    grown = int(waiting[-1] - waiting[_BINS])
    later = slice(_BINS, None)
    spread = long_run_variance(np.diff(came[later]).astype(np.float64)).variance
    spread += long_run_variance(np.diff(went[later]).astype(np.float64)).variance
    sigma = math.sqrt(spread * _BINS)
    # That was of the later half; over the whole time chance has a factor of sqrt(2) more room.
    hopeless = (
        waiting[-1] > _BACKLOG_SIGMAS * math.sqrt(2.0) * sigma
        and grown > _GROWTH_SIGMAS * sigma
        and steps[_STEPS // 2 :].min() > _LEAST_STEP * waiting[-1] / _STEPS
    )
    if not hopeless or _overtaken(due_ns, done_ns, int(edges[-1 - 2 * _BINS // _STEPS]), now_ns, int(waiting[-1])):
        return None
    asked, given = (2.0 * float(count[-1] - count[_BINS]) / seconds for count in (came, went))
    return (
        f"after {seconds:.0f} s {waiting[-1]} requests were waiting, and ever more: of late {asked:.4g} a second came "
        f"and {given:.4g} were answered"
    )


def _overtaken(due_ns: NDArray[np.int64], done_ns: NDArray[np.int64], since_ns: int, now_ns: int, waiting: int) -> bool:
    """Whether the answers since ``since_ns`` came much sooner than behind ``waiting`` requests. None is no sooner."""
    lately = done_ns > since_ns
    if not lately.any():
        return False
    backlog_ns = waiting * (now_ns - int(due_ns[0])) / len(due_ns)
    return float(np.median(done_ns[lately] - due_ns[lately])) < _LEAST_WAIT * backlog_ns
