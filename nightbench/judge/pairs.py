"""Whether tonight is truly slower than the last good night: pairs of fresh deployments, read one after another.

A pair is one fresh deployment of either side, one right after the other, so that what the machine does slowly touches
both; their order goes ABBA, so that after every second pair a steady drift has cancelled. What is read is the
logarithm of tonight over last-good, pair by pair: deployments differ by factors (`nightbench.stats.combine`).

**Several looks.** Pairs are costly, so they are looked at as they come. Of the probability to be wrong, alpha, the look
at n of N pairs may spend alpha (n/N)^2 less what earlier looks could (the power family of Kim & DeMets, Biometrika 74,
1987; spending: Lan & DeMets, Biometrika 70, 1983), and each look is a Student t interval of just that error. By the
union bound the errors of all looks add up to no more than alpha, whatever their dependence and however few the pairs;
O'Brien & Fleming's boundaries would leave the first look, with three degrees of freedom, nothing to decide with, and
Pocock's would take it from the last. The same holds for the interval that is reported: 95 % over all looks, a
repeated confidence interval (Jennison & Turnbull, JRSS B 51, 1989), so stopping early does not make it too short.

**One wild pair** cannot confirm: it raises the spread as much as the mean, so t stays near 1. It could hide a change,
though. So from eight pairs on a quarter of each look's error goes to a second interval, about the mean without the
smallest and the largest ratio (Yuen, Biometrika 61, 1974), and the shorter of both counts.

What that costs and buys is measured in ``docs/judge.md``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

from nightbench.figures import Estimate
from nightbench.judge.policy import ConfirmPolicy
from nightbench.judge.series import Direction
from nightbench.judge.verdict import Change, Outcome
from nightbench.stats.distributions import student_t_quantile

__all__ = ["Decision", "Pair", "decide", "looks"]

_REPORTED_ERROR = 0.025
"""On either side of the interval that is reported, and that a change must be ruled out by."""
_TRIM_FROM = 8
"""Pairs: of fewer, a mean without its two ends has too few degrees of freedom to be of use."""
_TRIM_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of two adjacent fresh deployments; both are positive."""

    good: float
    tonight: float

    def __post_init__(self) -> None:
        if not (0.0 < self.good < math.inf and 0.0 < self.tonight < math.inf):
            raise ValueError(f"figures of a pair are positive numbers, not {self.good} and {self.tonight}")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the pairs of one series say."""

    outcome: Outcome
    ratio: Estimate
    """Tonight over last-good, with its 95 % interval; without bounds from too few pairs."""
    detail: str


@dataclass(frozen=True, slots=True)
class _Interval:
    centre: float
    half: float

    @property
    def low(self) -> float:
        return self.centre - self.half

    @property
    def high(self) -> float:
        return self.centre + self.half


def looks(policy: ConfirmPolicy) -> tuple[int, ...]:
    """The numbers of pairs that are looked at: whole ABBA blocks from ``min_pairs`` on, and ``max_pairs``."""
    most = max(policy.min_pairs, policy.max_pairs)
    return (*(n for n in range(policy.min_pairs, most) if n % 2 == 0), most)


def decide(
    pairs: Sequence[Pair], direction: Direction, effect: float, policy: ConfirmPolicy, change: Change, *, last: bool
) -> Decision | None:
    """What ``pairs`` say of a suspected ``change`` towards worse; ``None``: measure another pair.

    *confirmed*: the interval, of error ``policy.false_confirm_p`` over all looks, lies wholly on the worse side of 1,
    and the estimate is at least ``effect``, a relative change, worse. *refuted*: the 95 % interval holds nothing as bad
    as ``effect``. *environment*: the same, but last-good is now itself worse than its history by more than ``effect``;
    at the ``last`` pair it is enough that the estimate is within ``effect`` and the interval rules out the change that
    history shows. *unconfirmable*: none of these at the ``last`` pair.

    `ValueError` if there is no pair at all.
    """
    if not pairs:
        raise ValueError("there is no pair to decide from")
    count, planned = len(pairs), looks(policy)
    last = last or count >= planned[-1]
    if not last and count not in planned:
        return None
    if count < planned[0]:
        detail = f"{_pairs(count)} measured, and the first look is at {planned[0]}"
        return Decision(Outcome.UNCONFIRMABLE, _without_bounds(pairs), detail)
    sign = 1.0 if direction is Direction.LOWER else -1.0
    worse = [sign * math.log(pair.tonight / pair.good) for pair in pairs]
    share = _share(count, planned, last=last)
    strict, shown = (_interval(worse, error * share) for error in (policy.false_confirm_p, _REPORTED_ERROR))
    ratio, news = _ratio(shown, sign), _log_of(effect, direction)
    detail = f"changed by {_words(ratio)} over {_pairs(count)}"
    if strict.low > 0.0 and strict.centre >= news:
        return Decision(Outcome.CONFIRMED, ratio, detail)
    good = median(pair.good for pair in pairs)
    moved = _moved(good, change.before, direction, effect)
    ruled_out = shown.high < sign * math.log(change.ratio) and abs(shown.centre) < news
    if moved and (shown.high < news or (last and ruled_out)):
        itself = f"{detail}, and what was good has itself changed by {good / change.before.value - 1.0:+.1%}"
        return Decision(Outcome.ENVIRONMENT, ratio, itself)
    if shown.high < news:
        return Decision(Outcome.REFUTED, ratio, detail)
    unsure = Decision(Outcome.UNCONFIRMABLE, ratio, f"{detail}, which neither shows nor rules out {effect:.0%}")
    return unsure if last else None


def _share(count: int, planned: Sequence[int], *, last: bool) -> float:
    """Of the whole error, what the look at ``count`` pairs may spend. One that has to be the last takes all that is
    left, as if there had been a look at as many pairs already: where pairs are doubted there may have been."""
    early = last and count < planned[-1]
    before = max((n for n in planned if n < count or (early and n == count)), default=0)
    return (1.0 if last else (count / planned[-1]) ** 2) - (before / planned[-1]) ** 2


def _interval(values: Sequence[float], error: float) -> _Interval:
    """About the mean, with ``error`` on either side."""
    count = len(values)
    if count < _TRIM_FROM:
        return _student(values, count, error)
    plain = _student(values, count, error * (1.0 - _TRIM_SHARE))
    trimmed = _trimmed(values, error * _TRIM_SHARE)
    return min(plain, trimmed, key=lambda each: each.half)


def _student(values: Sequence[float], count: int, error: float) -> _Interval:
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return _Interval(mean, _quantile(error, count - 1) * math.sqrt(variance / count))


def _trimmed(values: Sequence[float], error: float) -> _Interval:
    """Without the smallest and the largest; its error comes from the values with those drawn in to their neighbours."""
    ordered = sorted(values)
    kept = ordered[1:-1]
    drawn_in = [kept[0], *kept, kept[-1]]
    centre = math.fsum(drawn_in) / len(drawn_in)
    squares = math.fsum((value - centre) ** 2 for value in drawn_in)
    count = len(kept)
    half = _quantile(error, count - 1) * math.sqrt(squares / (count * (count - 1)))
    return _Interval(math.fsum(kept) / count, half)


@cache
def _quantile(error: float, dof: int) -> float:
    return student_t_quantile(1.0 - error, dof)


def _log_of(effect: float, direction: Direction) -> float:
    """Of a change that is ``effect`` worse, on the scale where worse is above 0."""
    return math.log1p(effect) if direction is Direction.LOWER else -math.log1p(-effect)


def _moved(good: float, was: Estimate, direction: Direction, effect: float) -> bool:
    """Whether last-good, tonight, is worse than it was by more than ``effect``, and outside its level's interval."""
    if direction is Direction.LOWER:
        return good > was.value * (1.0 + effect) and (was.high is None or good > was.high)
    return good < was.value * (1.0 - effect) and (was.low is None or good < was.low)


def _ratio(worse: _Interval, sign: float) -> Estimate:
    ends = sorted(math.exp(sign * end) for end in (worse.low, worse.high))
    return Estimate(math.exp(sign * worse.centre), *ends)


def _without_bounds(pairs: Sequence[Pair]) -> Estimate:
    return Estimate(math.exp(math.fsum(math.log(pair.tonight / pair.good) for pair in pairs) / len(pairs)))


def _words(ratio: Estimate) -> str:
    low, high = (math.nan if end is None else end - 1.0 for end in (ratio.low, ratio.high))
    return f"{ratio.value - 1.0:+.1%} ({low:+.1%} to {high:+.1%})"


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
