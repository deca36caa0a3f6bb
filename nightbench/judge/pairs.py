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

**Giving up.** Most of what is suspected is not there, and pairs spent on it are kept from what is. Where history was
not sure and last-good is as it was, two pairs of which neither is worse by the effect end it; and each look but the
last asks how likely the pairs so far make a confirmation at the last one: the predictive power of Spiegelhalter,
Freedman & Blackburn (Controlled Clinical Trials 7, 1986), the mean of the pairs to come being Student's t about that of
those at hand. Below `_LEAST_POWER` it ends there. It is *unconfirmable* then; of a firm change that may be an alert,
which is why those go on. And what history claims is *refuted* by an interval that holds not half of it. None of this
can confirm anything, nor does any look get error that an earlier one left: it only lowers the probability of a false
confirmation.

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
_LEAST_POWER = 0.1
"""A re-run goes on while this much is left of its chance to confirm at the last look."""
_GLANCE = 2
"""Pairs, one ABBA block. Where nothing changed and pairs scatter by one and a half effects, neither is worse by the
effect more often than not; where they are three effects worse, once in a few hundred times."""
_CLAIMED = 0.5
"""Of the logarithm of the change that history shows, which is often too large where noise has made it show: what is
larger than the least effect and smaller than this is another change than the one in question."""


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
    most = policy.max_pairs
    return (*(n for n in range(policy.min_pairs, most) if n % 2 == 0), most)


def decide(
    pairs: Sequence[Pair], direction: Direction, effect: float, policy: ConfirmPolicy, change: Change, *, last: bool
) -> Decision | None:
    """What ``pairs`` say of a suspected ``change`` towards worse; ``None``: measure another pair.

    *confirmed*: the interval, of error ``policy.false_confirm_p`` over all looks, lies wholly on the worse side of 1,
    and the estimate is at least ``effect``, a relative change, worse. *refuted*: the 95 % interval holds nothing as bad
    as ``effect``, or as half of the ``change``. *environment*: the interval holds nothing as bad as ``effect``, but
    last-good is now itself worse than its history by more than ``effect``; it is enough that the estimate is within
    ``effect`` and the interval rules out half of the change that history shows, at the ``last`` pair the whole of it.
    *unconfirmable*: none of these at the ``last`` pair, or there is hardly a chance left for the first.

    `ValueError` if there is no pair at all.
    """
    if not pairs:
        raise ValueError("there is no pair to decide from")
    count, planned = len(pairs), looks(policy)
    last = last or count >= planned[-1]
    sign = 1.0 if direction is Direction.LOWER else -1.0
    worse = [sign * math.log(pair.tonight / pair.good) for pair in pairs]
    news, good = _log_of(effect, direction), median(pair.good for pair in pairs)
    moved = _moved(good, change.before, direction, effect)
    may_give_up = not (last or moved or change.firm)
    if count < planned[0]:
        return _too_few(pairs, planned[0], last=last, none_is_worse=may_give_up and max(worse) < news)
    if not last and count not in planned:
        return None
    share = _share(count, planned, last=last)
    strict, shown = (_interval(worse, error * share) for error in (policy.false_confirm_p, _REPORTED_ERROR))
    ratio = _ratio(shown, sign)
    detail = f"changed by {_words(ratio)} over {_pairs(count)}"
    outcome = _outcome(strict, shown, news, sign * math.log(change.ratio), moved=moved, last=last)
    if outcome is Outcome.ENVIRONMENT:
        detail += f", and what was good has itself changed by {good / change.before.value - 1.0:+.1%}"
    elif outcome is Outcome.REFUTED and shown.high >= news:
        detail += ", not half of what history shows"
    elif outcome is None and (last or (may_give_up and _hopeless(worse, news, policy, planned))):
        outcome = Outcome.UNCONFIRMABLE
        detail += f", which neither shows nor rules out {effect:.0%}"
        detail += "" if last else f"; {planned[-1]} pairs would hardly tell"
    return None if outcome is None else Decision(outcome, ratio, detail)


def _too_few(pairs: Sequence[Pair], first_look: int, *, last: bool, none_is_worse: bool) -> Decision | None:
    """Before the first look."""
    if last:
        detail = f"{_pairs(len(pairs))} measured, and the first look is at {first_look}"
    elif none_is_worse and len(pairs) == _GLANCE:
        detail = f"none of {_pairs(len(pairs))} is worse by the least effect, so no more were measured"
    else:
        return None
    return Decision(Outcome.UNCONFIRMABLE, _without_bounds(pairs), detail)


def _outcome(
    strict: _Interval, shown: _Interval, news: float, claimed: float, *, moved: bool, last: bool
) -> Outcome | None:
    """``claimed`` by history, as ``news`` on the scale where worse is above 0."""
    if strict.low > 0.0 and strict.centre >= news:
        return Outcome.CONFIRMED
    if not moved:
        return Outcome.REFUTED if shown.high < max(news, _CLAIMED * claimed) else None
    another = abs(shown.centre) < news and shown.high < claimed * (1.0 if last else _CLAIMED)
    return Outcome.ENVIRONMENT if shown.high < news or another else None


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


def _hopeless(worse: Sequence[float], news: float, policy: ConfirmPolicy, planned: Sequence[int]) -> bool:
    """Whether the last look would confirm with a probability below `_LEAST_POWER`, the scatter staying what it is.

    That must hold without the smallest ratio as well: it may be the wild one that hides a change.
    """
    most = planned[-1]
    error = policy.false_confirm_p * _share(most, planned, last=True)
    return all(_power_is_gone(values, news, most, error) for values in (worse, sorted(worse)[1:]))


def _power_is_gone(values: Sequence[float], news: float, most: int, error: float) -> bool:
    """Of the mean over all ``most`` pairs, what is at hand is known and the rest scatters about the mean at hand."""
    count = len(values)
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    asked = max(news, _quantile(error, most - 1) * deviation / math.sqrt(most))
    reach = _quantile(_LEAST_POWER, count - 1) * deviation * math.sqrt(1.0 / count - 1.0 / most)
    return mean + reach < asked


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
