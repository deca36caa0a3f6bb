"""The steps that latencies are counted in where a whole histogram is too much: the rows of a heat map."""

from itertools import pairwise

from nightbench.histogram import HIGHEST_NS, LatencyHistogram

__all__ = ["STEPS_NS", "counted"]

_A_DECADE = (10, 15, 20, 30, 50, 70)
STEPS_NS = (*(step * 10**power for power in range(4, 9) for step in _A_DECADE), 10**10, HIGHEST_NS)
"""Upper bounds, six a decade from 100 us to 10 s, and one for all that is longer."""


def counted(histogram: LatencyHistogram) -> dict[int, int]:
    """How many latencies lie up to each of `STEPS_NS` and above the one before; steps without any are left out."""
    counts = histogram.buckets([0, *STEPS_NS]).tolist()
    return {upper: count for (_, upper), count in zip(pairwise((0, *STEPS_NS)), counts, strict=True) if count}
