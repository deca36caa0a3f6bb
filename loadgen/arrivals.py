"""When the requests of an open loop are due, decided before the first one is sent."""

from collections.abc import Callable
from math import ceil

import numpy as np
from numpy.typing import NDArray

from nightbench.load import Arrival, OpenLoop

__all__ = ["offsets_ns"]


def offsets_ns(
    load: OpenLoop, duration_s: float, seed: int, trace_offsets_s: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Sorted offsets from the start of the run, all in ``[0, duration_s)``, in nanoseconds.

    They are absolute, so a late send never delays the ones after it and the rate cannot drift. Their number varies
    about ``rate_rps * duration_s``, except for constant arrivals.

    - Constant arrivals are the multiples of ``1 / rate_rps``, which the seed does not change.
    - Poisson arrivals have independent exponential gaps.
    - Gamma arrivals have independent gaps of the same mean whose shape is the ``burstiness``: the gaps' coefficient
      of variation is ``1 / sqrt(burstiness)``. vLLM's ``--burstiness`` and AIPerf's ``--arrival-smoothness`` mean the
      same (`get_request` in vllm/benchmarks/serve.py draws gamma(burstiness, 1 / (rate * burstiness))).
    - Trace arrivals are ``trace_offsets_s`` (`loadgen.trace.read_trace`), stretched so that their mean gap is
      ``1 / rate_rps``. The first is due at once, and after the last, a mean gap later, the trace begins again. Over
      whole cycles the rate is as asked; a part of one is as busy as it was when it was recorded.
    """
    end_ns = duration_s * 1e9
    gap_ns = 1e9 / load.rate_rps
    match load.arrival:
        case Arrival.CONSTANT:
            times = np.arange(ceil(duration_s * load.rate_rps), dtype=np.float64) * gap_ns
        case Arrival.POISSON:
            random = np.random.default_rng(seed)
            times = _renewal(lambda size: random.exponential(gap_ns, size), gap_ns, 1.0, end_ns)
        case Arrival.GAMMA:
            if load.burstiness is None:
                raise ValueError("gamma arrivals need a burstiness")
            times = _gamma(load.burstiness, gap_ns, end_ns, np.random.default_rng(seed))
        case Arrival.TRACE:
            if trace_offsets_s is None:
                raise ValueError("trace arrivals need the offsets of their trace")
            times = _cycled(trace_offsets_s, gap_ns, end_ns)
    offsets = times.astype(np.int64)
    return offsets[offsets < end_ns]


def _gamma(shape: float, gap_ns: float, end_ns: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Gamma gaps, the first one cut: it is entered at a random moment, as is usual for a process that was always there.

    A random moment falls into a gap with a probability in proportion to its length, which for a gamma gap means a
    shape larger by one (Cox, "Renewal Theory", 1962, 5.4). Otherwise bursts would begin with the run, and the
    expected number of arrivals would not be the rate times the duration.
    """
    first = random.uniform() * random.gamma(shape + 1.0, gap_ns / shape)
    later = _renewal(lambda size: random.gamma(shape, gap_ns / shape, size), gap_ns, shape**-0.5, end_ns - first)
    return np.concatenate(([first], first + later))


def _renewal(
    gaps: Callable[[int], NDArray[np.float64]], gap_ns: float, variation: float, end_ns: float
) -> NDArray[np.float64]:
    """Sums of gaps of mean ``gap_ns`` and that coefficient of ``variation``, the last of them past ``end_ns``."""
    expected = max(0.0, end_ns) / gap_ns
    # Four standard deviations above the mean: one draw is nearly always enough.
    size = int(expected + 4 * variation * expected**0.5) + 16
    drawn: list[NDArray[np.float64]] = []
    last_ns = 0.0
    while last_ns < end_ns:
        part = last_ns + np.cumsum(gaps(size))
        last_ns = float(part[-1])
        drawn.append(part)
    return np.concatenate(drawn) if drawn else np.empty(0)


def _cycled(recorded_s: NDArray[np.float64], gap_ns: float, end_ns: float) -> NDArray[np.float64]:
    """``recorded_s`` from its first entry, with a mean gap of ``gap_ns``, over and over until past ``end_ns``."""
    count = len(recorded_s)
    since = recorded_s - recorded_s[0]
    cycle = since * ((count - 1) * gap_ns / since[-1])
    cycles = ceil(end_ns / (count * gap_ns))
    starts = np.arange(cycles, dtype=np.float64) * (count * gap_ns)
    return np.asarray(starts[:, np.newaxis] + cycle).ravel()
