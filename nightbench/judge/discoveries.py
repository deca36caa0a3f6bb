"""Many series are judged in one night: how many of those that look changed may be so by chance."""

from collections.abc import Sequence

import numpy as np

__all__ = ["discoveries"]


def discoveries(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which hypotheses to give up so that at most ``rate`` of those given up are true, on average.

    The step-up procedure of Benjamini and Yekutieli, "The control of the false discovery rate in multiple testing under
    dependency", Annals of Statistics 29 (2001), theorem 1.3: of m p-values in order, the k-th is held against
    k / m * rate / (1 + 1/2 + ... + 1/m), and all up to the last that keeps its bound are discoveries. It holds under
    any dependence whatever. Series of one night are dependent indeed: those of one deployment share its luck, and
    throughput and latency of one closed loop are nearly the same figure. The better known bound of Benjamini and
    Hochberg (1995), larger by that sum, realised .16 to .23 instead of .05 on the CI series of `benchmarks.judge`.

    ``p_values`` are those of *all* that were judged; 1 stands for a series in which nothing was found, which can only
    make fewer discoveries. One answer a p-value, in the same order.

    `ValueError` unless 0 < ``rate`` < 1 and every p-value lies in [0, 1].
    """
    if not 0.0 < rate < 1.0:
        raise ValueError(f"a false discovery rate lies inside (0, 1), not {rate}")
    values = np.asarray(p_values, dtype=np.float64)
    # Written so that NaN is refused as well.
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise ValueError("a p-value lies in [0, 1]")
    count = len(values)
    if count == 0:
        return []
    ranks = np.arange(1, count + 1)
    order = np.argsort(values, kind="stable")
    kept = np.flatnonzero(values[order] <= ranks / count * rate / np.sum(1.0 / ranks))
    found = np.zeros(count, dtype=np.bool_)
    found[order[: kept[-1] + 1 if len(kept) else 0]] = True
    return [bool(each) for each in found]
