"""Mozilla's Perfherder: t between the twelve values from a candidate on and up to twenty-four before it."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.rivals.nightly import Nightly, directed

__all__ = ["PERFHERDER", "t_between"]

_BACK, _FORE, _T, _LEAST = 24, 12, 7.0, 0.02


def _side(window: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean, and variance about it, of a window that has the candidate's neighbour first."""
    n = window.shape[1]
    weights = np.arange(n, 0, -1) / n
    mean = window @ weights / weights.sum()
    return mean, ((window - mean[:, None]) ** 2).sum(axis=1) / (n - 1)


def t_between(values: NDArray[np.float64], at: int) -> NDArray[np.float64]:
    """The absolute t between the nights from ``at`` on and those before it, of each series."""
    before, after = values[:, max(0, at - _BACK) : at][:, ::-1], values[:, at : at + _FORE]
    (was, was_variance), (now, now_variance) = _side(before), _side(after)
    error = np.sqrt(was_variance / before.shape[1] + now_variance / after.shape[1])
    return np.asarray(np.abs(now - was) / np.maximum(error, 1e-300))


def _tonight(values: NDArray[np.float64]) -> NDArray[np.int8]:
    """treeherder/perfalert: ``detect_changes`` with its defaults, and alerts from 2 % on (treeherder/perf/alerts.py).

    A candidate needs all twelve values after it, t above 7 and no greater t beside it. New with tonight are the
    candidate whose twelve are full now, and the one before it, whose neighbour's are. The window before a candidate is
    the full 24 here; Perfherder shortens it for a while after a change.
    """
    last = values.shape[1] - _FORE
    fired = np.zeros(len(values), dtype=np.int8)
    for at in (last, last - 1):
        t = t_between(values, at)
        rings = (t > _T) & (t_between(values, at - 1) <= t) & (t_between(values, at + 1) <= t)
        change = values[:, at : at + _FORE].mean(axis=1) / values[:, max(0, at - _BACK) : at].mean(axis=1) - 1.0
        fired = np.where(fired, fired, directed(rings & (np.abs(change) >= _LEAST), change))
    return fired


PERFHERDER = Nightly("Perfherder: t > 7, 2 %", _tonight)
