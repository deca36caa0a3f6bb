"""Ranks of the last nights among those before: Mann and Whitney (Annals of Mathematical Statistics 18, 1947)."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from benchmarks.judge.rivals.nightly import Nightly, directed

__all__ = ["MANN_WHITNEY"]

_NEW, _OLD, _P, _LEAST = 7, 30, 1e-4, 0.03


def _tonight(values: NDArray[np.float64]) -> NDArray[np.int8]:
    new, old = values[:, -_NEW:], values[:, -_NEW - _OLD : -_NEW]
    p = mannwhitneyu(new, old, axis=1, method="exact").pvalue
    change = np.median(new, axis=1) / np.median(old, axis=1) - 1.0
    return directed((p < _P) & (np.abs(change) >= _LEAST), change)


MANN_WHITNEY = Nightly("Mann-Whitney 7 v 30, p < 1e-4, 3 %", _tonight)
