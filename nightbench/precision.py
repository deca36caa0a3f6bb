"""Whether figures are known well enough for measuring to stop."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nightbench.load import Precision
from nightbench.stats.quantiles import NotEnough, quantiles
from nightbench.stats.warmup import warmup_cut

__all__ = ["Precision", "first_look_s", "next_look_s", "reached"]

_FIRST_S = 1.0
_GROWTH = 1.25
"""A minute takes 19 looks. They overshoot by an eighth of the time on average; that a second one must agree takes
a quarter."""
_TAIL_SAMPLES = 30.0
"""Independent values beyond each quantile, six times what an interval takes. Few clusters of slow requests may hide
that they are clusters; runs in which they do are the ones that would stop."""


def first_look_s(min_warmup_s: float) -> float:
    """When to ask `reached` first, in seconds from the start of sending."""
    return min_warmup_s + _FIRST_S


def next_look_s(elapsed_s: float, min_warmup_s: float) -> float:
    """When to ask again after a look at ``elapsed_s``.

    Looks lie apart by a factor, so their number and their cost stay small, and each sees enough that is new. With a
    look after every request some moment would come at which the interval is narrow by luck.
    """
    return min_warmup_s + max(_FIRST_S, _GROWTH * (elapsed_s - min_warmup_s))


def reached(latency_ns: NDArray[np.int64], before_ns: NDArray[np.int64], precision: Precision) -> bool:
    """Whether the figures are known as well as ``precision`` asks; never, if it asks nothing.

    ``latency_ns`` holds the successful latencies after the minimum warm-up, ``before_ns`` those of it, both in order
    of intended time. The warm-up is cut as in `nightbench.assess`, and what is left must be stationary.

    To stop when the interval is narrow enough is to prefer data whose spread looks small: the interval then covers the
    truth less often than it says. The loss vanishes as the width asked for goes to zero (Chow & Robbins, "On the
    Asymptotic Theory of Fixed-Width Sequential Confidence Intervals", Annals of Mathematical Statistics 36, 1965;
    for correlated data Glynn & Whitt, "The Asymptotic Validity of Sequential Stopping Rules for Stochastic
    Simulations", Annals of Applied Probability 2, 1992), and is felt at the widths we ask for. Two guards keep it
    small. The quantile must have `_TAIL_SAMPLES`; and the figures must have been as good at the look before, so that
    one lucky look stops nothing. `benchmarks/coverage` has the coverage that is left: 93 to 97 %, but for p99 of a
    queue, M/M/1 half loaded, where it is 92 %.
    """
    asked = {q: width for q, width in ((0.5, precision.p50), (0.99, precision.p99)) if width is not None}
    before_last = round(len(latency_ns) / _GROWTH)
    return bool(asked) and all(_known(latency_ns[:end], before_ns, asked) for end in (len(latency_ns), before_last))


def _known(latency_ns: NDArray[np.int64], before_ns: NDArray[np.int64], asked: Mapping[float, float]) -> bool:
    cut = warmup_cut(latency_ns, before=before_ns)
    if not cut.stationary or cut.needed is not None:
        return False
    for q, answer in quantiles(latency_ns[cut.index :], asked, tail_samples=_TAIL_SAMPLES).items():
        if isinstance(answer, NotEnough) or answer.low is None or answer.high is None:
            return False
        if answer.high - answer.low > 2.0 * asked[q] * answer.value:
            return False
    return True
