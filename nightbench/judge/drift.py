"""A level that has crept away from where it was when its baseline was set, too slowly for any scan to see.

TensorRT-LLM's rule, a baseline of the last 90 days, says of itself that the baseline follows a regression until the
regression is what is normal. So the anchor does not move: it is the level of the first nights after the last re-base.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.judge.levels import centre, estimate, scatter
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import Direction, Point
from nightbench.judge.verdict import Change
from nightbench.stats.distributions import regularized_beta

__all__ = ["drift"]

_EFFECTS = 2.0
"""How many times the least effect it takes: one alone is within what a bounded, harmless drift comes to."""
_FIRM_P = 1e-6
"""Far below one in 1000 nights: an anchor that was off stays off, and would be seen again every night."""
_LOCATING = 7
"""Nights whose centre says on which side of half the way a series was."""


def drift(
    valid: Sequence[Point],
    logs: NDArray[np.float64],
    direction: Direction,
    effect: float,
    policy: JudgePolicy,
    anchor: Estimate,
) -> Change | None:
    """Whether the newest ``window_nights`` stand worse than the anchor by more than twice the effect and the noise.

    A change to better is no concern here: a baseline that improves only gets stricter. It is firm and never merely
    watched: what came over weeks is not in tonight's difference from last night, which is what a re-run compares.
    The p-value is Student's t of the distance over both errors, taken for one side. ``since`` is the night from which
    the level has been beyond half of the distance: less than a whole window of nights is the scan's business.
    """
    window = policy.window_nights
    if len(logs) < window + policy.min_nights or anchor.value <= 0.0:
        return None
    sign = -1.0 if direction is Direction.HIGHER else 1.0
    start, now = math.log(anchor.value), logs[-window:]
    distance = sign * (centre(now) - start)
    if distance < _EFFECTS * math.log1p(effect):
        return None
    noise = scatter(now)
    error = math.hypot(noise.error(window), noise.error(policy.min_nights))
    p_value = _upper_tail(distance / error, window - 1) if error > 0.0 else 0.0
    if p_value > _FIRM_P:
        return None
    nights = _since(sign * (logs - start), distance / 2.0)
    if nights < window:
        return None
    return Change(
        since=valid[-nights].night,
        last_before=valid[-nights - 1].night,
        nights=nights,
        before=anchor,
        after=estimate(now, noise),
        p_value=p_value,
        firm=True,
    )


def _since(worse: NDArray[np.float64], half: float) -> int:
    """For how many nights the running median has been beyond ``half`` without a break; at least one night stays
    before."""
    windows = np.lib.stride_tricks.sliding_window_view(worse, _LOCATING)
    within = np.flatnonzero(np.median(windows, axis=1) < half)
    first = int(within[-1]) + _LOCATING // 2 + 1 if len(within) else 1
    return min(len(worse) - first, len(worse) - 1)


def _upper_tail(t: float, dof: int) -> float:
    """P(T > t) of Student's t, t > 0 (DLMF 8.17)."""
    return 0.5 * regularized_beta(dof / (dof + t * t), dof / 2.0, 0.5)
