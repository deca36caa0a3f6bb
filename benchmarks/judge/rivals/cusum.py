"""A robust CUSUM (Page, Biometrika 41, 1954) over the last nights: the best of what was tried before ours."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.rivals.nightly import Nightly, directed

__all__ = ["CUSUM"]

_SCAN, _BASELINE = 14, 60
_SLACK, _LIMIT, _CLIP, _LEAST = 1.0, 6.0, 2.0, 0.03


def _rank_correlation(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row with itself a night later, on ranks."""
    ranks = rows.argsort(axis=1).argsort(axis=1).astype(np.float64)
    ranks -= ranks.mean(axis=1, keepdims=True)
    return np.asarray((ranks[:, 1:] * ranks[:, :-1]).sum(axis=1) / (ranks**2).sum(axis=1))


def _tonight(values: NDArray[np.float64]) -> NDArray[np.int8]:
    """Baseline: median and median absolute deviation of up to 60 nights before the last 14, sigma inflated by rank
    autocorrelation; nights beyond 2 sigma count as 2."""
    logs = np.log(values)
    before, scan = logs[:, -_SCAN - _BASELINE : -_SCAN], logs[:, -_SCAN:]
    level = np.median(before, axis=1, keepdims=True)
    sigma = 1.4826 * np.median(np.abs(before - level), axis=1, keepdims=True)
    rho = np.clip(_rank_correlation(before), 0.0, 0.9)[:, None]
    z = np.clip((scan - level) / np.maximum(sigma * np.sqrt((1.0 + rho) / (1.0 - rho)), 1e-12), -_CLIP, _CLIP)
    fired = np.zeros(len(values), dtype=np.int8)
    for sign in (1.0, -1.0):
        total, since = np.zeros(len(values)), np.zeros(len(values), dtype=np.int64)
        for night in range(_SCAN):
            total = total + sign * z[:, night] - _SLACK
            since = np.where(total <= 0.0, night + 1, since)
            total = np.maximum(total, 0.0)
        kept = np.where(np.arange(_SCAN) >= since[:, None], scan, np.nan)
        rows = total > _LIMIT
        change = np.zeros(len(values))
        change[rows] = np.expm1(np.nanmedian(kept[rows], axis=1) - level[rows, 0])
        fired = np.where(fired, fired, directed(rows & (sign * change >= _LEAST), change))
    return fired


CUSUM = Nightly("robust CUSUM, 3 %", _tonight)
