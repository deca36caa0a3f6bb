"""The searches for a peak and a knee: over closed loops of growing concurrency."""

import math
from collections.abc import Sequence

from nightbench.figures import Estimate, Reason, SearchFigures, SearchStep
from nightbench.load import ClosedLoop, Goal, Search

__all__ = ["concluded", "failed", "wanted"]

_LEAST_GAIN = 0.02
_PATIENCE = 2
"""Doublings without a gain that end a climb: one may be bad luck, or a batch size that does not fit."""
_NEAR = 1.25
"""Concurrencies that differ by no more than this factor are neighbours."""
_FAULTS = frozenset({Reason.ERRORS, Reason.WRONG_OUTPUT, Reason.SERVER_DIED})


def wanted(search: Search, steps: Sequence[SearchStep]) -> ClosedLoop | None:
    """Doubles the concurrency until `_PATIENCE` doublings in a row gained nothing, then refines about the best.

    A gain is more than `_LEAST_GAIN` and more than the two intervals leave to chance, over the last step that gained,
    so small gains add up. Throughput is flat about its peak: the best is the smallest concurrency over which the
    highest is no gain, for more clients only wait. That also spares the answer most of the luck of a maximum.
    """
    if not steps:
        return ClosedLoop(1)
    ladder = _ladder(steps)
    top = _concurrency(ladder[-1])
    if _without_gain(search.goal, ladder) < _PATIENCE and top < search.most_concurrent:
        return ClosedLoop(min(2 * top, search.most_concurrent))
    return _between([_concurrency(step) for step in steps], _concurrency(steps[_best(search.goal, steps)]))


def concluded(search: Search, steps: Sequence[SearchStep], cut: str | None) -> SearchFigures:
    """What the steps support; ``cut`` says why there can be no more of them, where more were wanted."""
    best = _best(search.goal, steps)
    answer, at = steps[best].throughput_rps, steps[best].load.label
    ladder = _ladder(steps)
    top = _concurrency(ladder[-1])
    what = "throughput" if search.goal is Goal.PEAK else "throughput over latency"
    if failed(steps[best]):
        detail, answer = "requests failed at every load", Estimate(answer.value)
    elif cut is not None:
        detail, answer = f"{cut} before the highest {what} was found; the highest seen is that of {at}", _open(answer)
    elif top > 1 and _without_gain(search.goal, ladder) == 0:
        detail, answer = f"{what} still rose at concurrency {top}, the largest allowed", _open(answer)
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


def _without_gain(goal: Goal, ladder: Sequence[SearchStep]) -> int:
    """How many of the last rungs did not gain."""
    reference, since = ladder[0], 0
    for rung in ladder[1:]:
        if _gained(_score(goal, rung), _score(goal, reference)):
            reference, since = rung, 0
        else:
            since += 1
    return since


def _gained(new: Estimate, old: Estimate) -> bool:
    chance = math.hypot(_half(new), _half(old))
    return new.value - old.value > max(chance, _LEAST_GAIN * old.value)


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
    enough = (at for at, score in enumerate(scores) if score is highest or not _gained(highest, score))
    return min(enough, key=lambda at: _concurrency(steps[at]))


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
