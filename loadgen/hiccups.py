"""The machine's own standstills, as the delay they would have been to something due at any moment."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["delays_ns"]

_LEVELS = {"p99": 0.99, "p999": 0.999}


def delays_ns(gaps_ns: Sequence[int], observed_ns: int) -> Mapping[str, int]:
    """Quantiles and maximum of the delay of a moment drawn evenly from ``observed_ns``; empty if that is nothing.

    A moment inside a standstill of length g waits for its end, so the share of moments that wait longer than x is
    sum(max(0, g - x)) / observed. That sum is the largest of (g_1 + ... + g_k) - k x over k, with the gaps sorted
    from the longest on; solving each term for x gives the quantile in closed form.
    """
    if observed_ns <= 0:
        return {}
    gaps = np.sort(np.asarray(gaps_ns, dtype=np.float64))[::-1]
    sums = np.cumsum(gaps)
    counts = np.arange(1, len(gaps) + 1)
    quantiles = {
        name: round(np.max((sums - (1 - level) * observed_ns) / counts, initial=0.0)) for name, level in _LEVELS.items()
    }
    return {**quantiles, "max": int(gaps[0]) if len(gaps) else 0}
