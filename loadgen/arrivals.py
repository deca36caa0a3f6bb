"""When the requests of an open loop are due, decided before the first one is sent."""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from nightbench.load import Arrival, OpenLoop

__all__ = ["offsets_ns"]


def offsets_ns(load: OpenLoop, duration_s: float, seed: int) -> NDArray[np.int64]:
    """Sorted offsets from the start of the run, all in ``[0, duration_s)``, in nanoseconds.

    They are absolute, so a late send never delays the ones after it and the rate cannot drift. Constant
    arrivals are the multiples of ``1 / rate_rps``, which the seed does not change; Poisson arrivals have
    independent exponential gaps, so their number varies about ``rate_rps * duration_s``.
    """
    end_ns = duration_s * 1e9
    gap_ns = 1e9 / load.rate_rps
    if load.arrival is Arrival.CONSTANT:
        times = np.arange(ceil(duration_s * load.rate_rps), dtype=np.float64) * gap_ns
    else:
        times = _poisson(gap_ns, end_ns, np.random.default_rng(seed))
    offsets = times.astype(np.int64)
    return offsets[offsets < end_ns]


def _poisson(gap_ns: float, end_ns: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Sums of exponential gaps, the last of them past ``end_ns``."""
    expected = end_ns / gap_ns
    # Four standard deviations above the mean: one draw is nearly always enough.
    size = int(expected + 4 * expected**0.5) + 16
    drawn: list[NDArray[np.float64]] = []
    last_ns = 0.0
    while last_ns < end_ns:
        part = last_ns + np.cumsum(random.exponential(gap_ns, size))
        last_ns = float(part[-1])
        drawn.append(part)
    return np.concatenate(drawn) if drawn else np.empty(0)
