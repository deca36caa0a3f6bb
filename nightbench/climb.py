"""The searches for a peak and a knee: over closed loops of growing concurrency."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nightbench.figures import Estimate, Reason, SearchFigures, SearchStep
from nightbench.load import ClosedLoop, Goal, Search

__all__ = ["concluded", "failed", "wanted"]

_LEAST_GAIN = 0.02
_PATIENCE = 2
"""Doublings without a gain that end a climb: one may be bad luck, or a batch size that does not fit."""
_HIDDEN = 0.25
"""A step is told from another if no gain of more than this can hide in their intervals. Intervals that leave more room
say nothing of whether more clients would help."""
_NEAR = 1.25
"""Concurrencies that differ by no more than this factor are neighbours."""
_FAULTS = frozenset({Reason.ERRORS, Reason.WRONG_OUTPUT, Reason.SERVER_DIED})


def wanted(search: Search, steps: Sequence[SearchStep]) -> ClosedLoop | None:
    """Doubles the concurrency until `_PATIENCE` doublings in a row gained nothing, then refines about the best.

    A gain is more than `_LEAST_GAIN` and more than the two intervals leave to chance, over the last step that gained,
    so small gains add up. A step whose interval may hide a gain (`_told`) neither gained nor did it not: the climb goes
    on past it. Throughput is flat about its peak: the best is the smallest concurrency over which no other is a gain,
    for more clients only wait. That also spares the answer most of the luck of a maximum.
    """
    if not steps:
        return ClosedLoop(1)
    ladder = _ladder(steps)
    top, climbed = _concurrency(ladder[-1]), _climbed(search.goal, ladder)
    if climbed.flat < _PATIENCE and top < search.most_concurrent:
        return ClosedLoop(min(2 * top, search.most_concurrent))
    if climbed.rose or climbed.unknown:
        return None
    return _between([_concurrency(step) for step in steps], _concurrency(steps[_best(search.goal, steps)]))


def concluded(search: Search, steps: Sequence[SearchStep], cut: str | None) -> SearchFigures:
    """What the steps support; ``cut`` says why there can be no more of them, where more were wanted."""
    ladder = _ladder(steps)
    top, climbed = _concurrency(ladder[-1]), _climbed(search.goal, ladder)
    if climbed.rose:
        best = len(ladder) - 1
    elif climbed.unknown:
        best = _surest(search.goal, steps)
    else:
        best = _best(search.goal, steps)
    answer, at = steps[best].throughput_rps, steps[best].load.label
    what = "throughput" if search.goal is Goal.PEAK else "throughput over latency"
    if failed(steps[best]):
        detail, answer = "requests failed at every load", Estimate(answer.value)
    elif cut is not None:
        detail, answer = f"{cut} before the highest {what} was found; the highest seen is that of {at}", _open(answer)
    elif climbed.rose:
        detail, answer = f"{what} still rose at concurrency {top}, the largest allowed", _open(answer)
    elif climbed.unknown:
        detail = f"the intervals are too wide to tell whether {what} still rises beyond {at}; measure each for longer"
        answer = _open(answer)
    else:
        detail = f"{what} is highest at {at} and gained nothing from there up to concurrency {top}"
    return SearchFigures(tuple(steps), best, answer, detail)


def failed(step: SearchStep) -> bool:
    """Whether so many requests failed, or were answered wrongly, that its figures are of another service."""
    return any(doubt.reason in _FAULTS for doubt in step.doubts)


def _open(answer: Estimate) -> Estimate:
    return Estimate(answer.value, answer.low)


def _ladder(steps: Sequence[SearchStep]) -> list[SearchStep]:
    """The steps that climbed: those after them lie between."""
    rungs = list(steps[:1])
    for step in steps[1:]:
        if _concurrency(step) <= _concurrency(rungs[-1]):
            break
        rungs.append(step)
    return rungs


@dataclass(frozen=True, slots=True)
class _Climbed:
    """The rungs since the last that gained."""

    rose: bool
    """There are none: the last one gained."""
    flat: int
    """Those that surely gained nothing to speak of."""
    untold: int
    """Those that may have."""

    @property
    def unknown(self) -> bool:
        return self.untold > 0 and self.flat < _PATIENCE


def _climbed(goal: Goal, ladder: Sequence[SearchStep]) -> _Climbed:
    """A rung is flat if it is told from any since the last that gained: that one itself may be known badly."""
    scores = [_score(goal, rung) for rung in ladder]
    reference, flat, untold = 0, 0, 0
    for at, score in enumerate(scores[1:], start=1):
        if _gained(score, scores[reference]):
            reference, flat, untold = at, 0, 0
        elif any(_told(score, earlier) for earlier in scores[reference:at]):
            flat += 1
        else:
            untold += 1
    return _Climbed(0 < reference == len(ladder) - 1, flat, untold)


def _gained(new: Estimate, old: Estimate) -> bool:
    return new.value - old.value > max(_chance(new, old), _LEAST_GAIN * old.value)


def _told(new: Estimate, old: Estimate) -> bool:
    """Whether a gain of ``new`` over ``old`` would have shown, had there been one of more than `_HIDDEN`."""
    return new.value - old.value + _chance(new, old) <= _HIDDEN * old.value


def _chance(one: Estimate, other: Estimate) -> float:
    return math.hypot(_half(one), _half(other))


def _half(estimate: Estimate) -> float:
    if estimate.low is None or estimate.high is None:
        return math.inf
    return (estimate.high - estimate.low) / 2.0


def _score(goal: Goal, step: SearchStep) -> Estimate:
    """What the climb makes largest: throughput, or Kleinrock's power, throughput over mean latency.

    Clients of a closed loop never rest, so the mean latency is their number over the throughput (Little 1961), and
    the power is the throughput squared over the concurrency.
    """
    if failed(step):
        return Estimate(0.0, 0.0, 0.0)
    rate = step.throughput_rps
    if goal is Goal.PEAK:
        return rate
    low, high = (None if bound is None else bound**2 / _concurrency(step) for bound in (rate.low, rate.high))
    return Estimate(rate.value**2 / _concurrency(step), low, high)


def _best(goal: Goal, steps: Sequence[SearchStep]) -> int:
    scores = [_score(goal, step) for step in steps]
    highest = max(scores, key=lambda score: score.value)
    enough = (
        at
        for at, score in enumerate(scores)
        if score is highest or (_told(highest, score) and not any(_gained(other, score) for other in scores))
    )
    return min(enough, key=lambda at: _concurrency(steps[at]))


def _surest(goal: Goal, steps: Sequence[SearchStep]) -> int:
    """The step that is high for sure, where the highest is not known."""
    scores = [_score(goal, step) for step in steps]
    return max(range(len(steps)), key=lambda at: (scores[at].low or 0.0, scores[at].value))


def _between(sizes: Sequence[int], best: int) -> ClosedLoop | None:
    """A concurrency not yet tried between ``best`` and a neighbour, the smaller one first."""
    below = max((size for size in sizes if size < best), default=best)
    above = min((size for size in sizes if size > best), default=best)
    for low, high in ((below, best), (best, above)):
        if high - low > 1 and high > _NEAR * low:
            return ClosedLoop(min(max(round(math.sqrt(low * high)), low + 1), high - 1))
    return None


def _concurrency(step: SearchStep) -> int:
    if not isinstance(step.load, ClosedLoop):
        raise TypeError(f"a climb takes closed loops only, not {step.load.label}")
    return step.load.concurrency
