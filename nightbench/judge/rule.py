"""The history rule: whether a series' level has shifted, from its own nights alone.

Every night asks the newest nights, up to the policy's ``window_nights``, of a change that began with any of them
(`nightbench.judge.scan`), against a baseline of up to ``baseline_nights`` before them. What was measured of it, false
suspicions and steps found, is in `benchmarks/judge` and ``docs/judge.md``. The thresholds here are from simulation on
half of the real series there, raised a little after a look at all of them: no series is wholly unseen.

A suspicion is *firm* where the evidence passes a threshold that depends on how long it has lasted. Series of real
benchmarks often leave their level for three to six nights and come back, so for these lengths much is asked for. Once
it has lasted a week, little: that is one look a night and no search.

A drift is too slow for any scan. It is seen against the anchor, the level as it was when the baseline was set.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.judge.drift import drift
from nightbench.judge.levels import centre, estimate, scatter
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.scan import scan
from nightbench.judge.series import Direction, Point
from nightbench.judge.verdict import Change

__all__ = ["anchor_of", "level_of", "suspect"]

_WEEK = 7
_EARLY, _AFTER_A_WEEK, _LATER = 8.2, 3.7, 6.6
"""Log evidence that a suspicion takes of 2 to 6 nights, of 7, and of more."""
_OVERSHOOT = 0.2
"""Where nothing changes and the density is known, likelihood ratios summed back from tonight are a martingale, so that
their largest passes e^m with a probability of at most e^-m, the choice of the first night allowed for (Ville 1939;
Siegmund 1985, II). The bound counts no overshoot, and the kernel understates evidence: of the real series' stationary
nights, the most unruly noise there, 3.5 % pass 2.3, which this makes a p-value of 0.02."""


def suspect(
    points: Sequence[Point],
    direction: Direction,
    effect: float,
    policy: JudgePolicy,
    anchor: Estimate | None = None,
    watch_p: float | None = None,
) -> Change | None:
    """What history says of tonight, the last of ``points``, which are oldest first.

    ``None`` where nothing is as unlikely as ``watch_p``, the policy's unless another is given, where there are fewer
    valid nights than ``policy.min_nights`` before tonight, or where tonight itself is doubted. Changes to better are
    returned as well: `Change.worse` tells. Doubted nights, and values without a logarithm, are as if they had never
    been.
    """
    if not points or not _valid(points[-1]):
        return None
    valid = [point for point in points if _valid(point)][-(policy.baseline_nights + policy.window_nights) :]
    window = min(policy.window_nights, len(valid) // 3, len(valid) - policy.min_nights)
    if window < 1:
        return None
    logs = np.log([point.value for point in valid])
    shift = _shift(valid, logs, window, effect, policy, policy.confirm.watch_p if watch_p is None else watch_p)
    if shift is not None and shift.firm:
        return shift
    crept = None if anchor is None else drift(valid, logs, direction, effect, policy, anchor)
    return crept or shift


def anchor_of(points: Sequence[Point], policy: JudgePolicy) -> Estimate | None:
    """The level of the first ``min_nights`` valid nights; ``None`` if there are fewer."""
    return _level([point for point in points if _valid(point)][: policy.min_nights], policy)


def level_of(points: Sequence[Point], policy: JudgePolicy) -> Estimate | None:
    """The level of the newest ``baseline_nights`` valid nights, for showing; ``None`` below ``min_nights``."""
    return _level([point for point in points if _valid(point)][-policy.baseline_nights :], policy)


def _level(valid: Sequence[Point], policy: JudgePolicy) -> Estimate | None:
    if len(valid) < policy.min_nights:
        return None
    logs = np.log([point.value for point in valid])
    return estimate(logs, scatter(logs))


def _shift(
    valid: Sequence[Point],
    logs: NDArray[np.float64],
    window: int,
    effect: float,
    policy: JudgePolicy,
    watch_p: float,
) -> Change | None:
    base = logs[:-window][-policy.baseline_nights :]
    noise = scatter(base)
    evidence = scan(logs[-window:], base, noise, effect, _own_error(valid))
    firms = [bool((each > _firm(window)).any()) for each in evidence.bounded]
    strongest = [float(each.max()) for each in evidence.whole]
    way = max((0, 1), key=lambda each: (firms[each], strongest[each]))
    firm = firms[way]
    p_value = min(1.0, _OVERSHOOT * math.exp(-strongest[way]))
    if p_value > watch_p and not firm:
        return None
    least = 2 if firm else 1
    nights = int(evidence.plain[way, least - 1 :].argmax()) + least
    before, after = logs[:-nights][-policy.baseline_nights :], logs[-nights:]
    step = (centre(after) - centre(before)) * (1.0 if way == 0 else -1.0)
    if step < math.log1p(effect):
        return None
    return Change(
        since=valid[-nights].night,
        last_before=valid[-nights - 1].night,
        nights=nights,
        before=estimate(before, scatter(before)),
        after=estimate(after, noise),
        p_value=min(p_value, policy.confirm.watch_p) if firm else p_value,
        firm=firm,
    )


def _firm(window: int) -> NDArray[np.float64]:
    """Thresholds by the number of nights at the new level, 1 to ``window``. One night is never enough."""
    nights = np.arange(1, window + 1)
    late = np.where(nights == _WEEK, _AFTER_A_WEEK, _LATER)
    return np.where(nights == 1, np.inf, np.where(nights < _WEEK, _EARLY, late))


def _valid(point: Point) -> bool:
    return not point.doubted and 0.0 < point.value < math.inf


def _own_error(valid: Sequence[Point]) -> float:
    """The standard error of a night's logarithm by its own rounds: the median over the nights that know one."""
    known = [(point.low, point.high) for point in valid if point.low and point.high and 0.0 < point.low <= point.high]
    if not known:
        return 0.0
    bounds = np.log(known)
    return float(np.median(bounds[:, 1] - bounds[:, 0])) / (2.0 * 1.96)
