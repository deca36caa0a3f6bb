"""How fast something grows, undisturbed by outliers."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["FEWEST", "slope_per_s"]

FEWEST = 10
"""Values below which a slope is hardly more than their noise."""
_MOST = 300
"""More are thinned evenly: 45,000 pairs say what there is to say, and cost a millisecond."""


def slope_per_s(points: Sequence[tuple[int, float]]) -> float | None:
    """Growth a second of ``points``, (nanoseconds, value) in order of time; ``None`` below `FEWEST` of them.

    The median of the slopes of all pairs (Theil 1950; Sen, "Estimates of the Regression Coefficient Based on Kendall's
    Tau", JASA 63, 1968): one garbage collection does not bend it, nor does anything that lasts less than 29 % of the
    time. Growth in steps, as allocators grow, counts once the steps are many.
    """
    if len(points) < FEWEST:
        return None
    kept = points[:: math.ceil(len(points) / _MOST)]
    at_ns = np.array([at for at, _ in kept], dtype=np.int64)
    values = np.array([value for _, value in kept], dtype=np.float64)
    earlier, later = np.triu_indices(len(kept), 1)
    seconds = (at_ns[later] - at_ns[earlier]) * 1e-9
    apart = seconds > 0.0
    if not apart.any():
        return None
    return float(np.median((values[later] - values[earlier])[apart] / seconds[apart]))
