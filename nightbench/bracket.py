"""The search for the highest open-loop rate whose p99 keeps a bound: between one that does and one that does not."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from nightbench.climb import failed
from nightbench.figures import Estimate, Reason, SearchFigures, SearchStep
from nightbench.load import ClosedLoop, EndedBy, OpenLoop, Search, Step

__all__ = ["concluded", "wanted"]

_FIRST = ClosedLoop(8)
"""Shows the order of the capacity; all of it, where the server does one thing at a time."""
_CLOSE = 1.05
"""The bracket's ends, by factor, when the search is over."""
_IDLE = 64.0
"""A server that is asked for so small a part of its capacity is idle, and a lower rate makes it no quicker."""
_NS_PER_MS = 1e6
_OVERLOAD = frozenset({Reason.OVER_SATURATED, Reason.RATE_MISSED})
_CLIENT = frozenset({Reason.LATE_SENDS, Reason.CLIENT_SATURATED, Reason.CLIENT_CEILING, Reason.CONNECTIONS_SHORT})
"""What was slow was the client: the step says nothing of the server."""
_UNREADABLE = _CLIENT | {Reason.NOT_STATIONARY, Reason.LITTLES_LAW}


class _Verdict(Enum):
    KEPT = auto()
    BROKEN = auto()
    UNDECIDED = auto()


@dataclass(frozen=True, slots=True)
class _Tried:
    """One rate: its steps, as indices, and what each of them said."""

    steps: tuple[int, ...]
    verdicts: tuple[_Verdict, ...]

    @property
    def kept(self) -> bool:
        """The last word counts. Undecided twice is broken: a bound that is kept by luck is not kept."""
        return self.verdicts[-1] is _Verdict.KEPT

    @property
    def surely_broken(self) -> bool:
        return not self.kept and _Verdict.BROKEN in self.verdicts


@dataclass(frozen=True, slots=True)
class _Bracket:
    low: float | None
    """The highest rate that kept the bound, of those below ``high``."""
    high: float | None
    """The lowest rate that broke it."""


def wanted(search: Search, steps: Sequence[SearchStep]) -> Step | None:
    """Doubles or halves the rate until one keeps the bound and one breaks it, then bisects the rate's logarithm.

    A step is judged by its p99's interval (`_judged`); one that is undecided is repeated once. The bracket's upper
    end is tried again at last unless it was too much for the server: a lone stall breaks a bound as well, and no later
    step would look there again. Where it keeps the bound then, the search goes on above it.
    """
    if not steps:
        return _FIRST
    tried = _tried(search, steps)
    for rate, each in tried.items():
        if each.verdicts == (_Verdict.UNDECIDED,):
            return _at(search, rate)
    found = _bracket(tried)
    if found.low is None or found.high is None:
        return _outward(search, steps, tried, found)
    if found.high > _CLOSE * found.low:
        return _at(search, math.sqrt(found.low * found.high))
    breaking = tried[found.high].steps
    return _at(search, found.high) if len(breaking) == 1 and not _overloaded(steps[breaking[0]]) else None


def _outward(
    search: Search, steps: Sequence[SearchStep], tried: Mapping[float, _Tried], found: _Bracket
) -> OpenLoop | None:
    """The next rate while an end of the bracket is missing; ``None`` where it makes no sense to look on."""
    if found.low is not None:
        return _at(search, 2.0 * found.low)
    capacity = steps[0].throughput_rps.value
    least = 0.99 * capacity / _IDLE
    if found.high is None:
        rate = capacity / 2.0
    elif _too_few(steps[tried[found.high].steps[-1]]):
        return None
    else:
        rate = found.high / 2.0
    return _at(search, rate) if rate > 0.0 and rate >= least else None


def concluded(search: Search, steps: Sequence[SearchStep], cut: str | None) -> SearchFigures:
    """The bracket as an interval; ``cut`` says why there can be no more steps, where more were wanted.

    The interval reaches up to the lowest rate that surely broke the bound: one that was undecided may have kept it.
    """
    tried = _tried(search, steps)
    found = _bracket(tried)
    bound = f"p99 <= {search.p99_ms:g} ms"
    why = "" if cut is None else f"; {cut}"
    if found.low is None:
        lowest = min(tried, default=None)
        chosen = 0 if lowest is None else tried[lowest].steps[-1]
        none = "nothing was answered"
        if lowest is not None:
            none = f"no rate kept {bound}: {lowest:g} rps {_how(tried[lowest], steps)}"
        return SearchFigures(tuple(steps), chosen, Estimate(0.0, None, found.high), none + why)
    chosen = tried[found.low].steps[-1]
    if found.high is None:
        detail = f"{found.low:g} rps kept {bound} and no higher rate was seen to break it{why}"
        return SearchFigures(tuple(steps), chosen, Estimate(found.low, found.low), detail)
    breaking = tried[found.high]
    detail = f"{found.low:g} rps kept {bound}, {found.high:g} rps {_how(breaking, steps)}{why}"
    above = [rate for rate, each in tried.items() if each.kept and rate > found.high]
    if above:
        detail += f"; {', '.join(f'{rate:g}' for rate in sorted(above))} rps kept it all the same"
    sure = min((rate for rate, each in tried.items() if rate > found.low and each.surely_broken), default=None)
    return SearchFigures(tuple(steps), chosen, Estimate(found.low, found.low, sure), detail)


def _how(breaking: _Tried, steps: Sequence[SearchStep]) -> str:
    doubts = [doubt for at in breaking.steps for doubt in steps[at].doubts]
    if any(doubt.reason in _CLIENT for doubt in doubts):
        return "was too much for the client"
    if any(_overloaded(steps[at]) for at in breaking.steps):
        return "was too much for the server"
    if breaking.verdicts[-1] is _Verdict.UNDECIDED:
        few = _too_few(steps[breaking.steps[-1]])
        return "had too few requests for an interval of p99; measure for longer" if few else "was undecided twice"
    return "failed requests" if failed(steps[breaking.steps[-1]]) else "broke it"


def _tried(search: Search, steps: Sequence[SearchStep]) -> dict[float, _Tried]:
    at: dict[float, list[int]] = defaultdict(list)
    for index, step in enumerate(steps):
        if isinstance(step.load, OpenLoop):
            at[step.load.rate_rps].append(index)
    return {
        rate: _Tried(tuple(indices), tuple(_judged(search, steps[index]) for index in indices))
        for rate, indices in at.items()
    }


def _bracket(tried: Mapping[float, _Tried]) -> _Bracket:
    high = min((rate for rate, each in tried.items() if not each.kept), default=None)
    below = (rate for rate, each in tried.items() if each.kept and (high is None or rate < high))
    return _Bracket(max(below, default=None), high)


def _judged(search: Search, step: SearchStep) -> _Verdict:
    """Kept if the whole interval of p99 lies within the bound; broken if it lies beyond, or the server failed."""
    if search.p99_ms is None:
        raise ValueError("a search for a rate that keeps a bound needs p99_ms")
    bound_ns = search.p99_ms * _NS_PER_MS
    reasons = {doubt.reason for doubt in step.doubts if doubt.whole_cell or "p99" in doubt.figures}
    p99 = step.latency_ns.get("p99")
    if failed(step) or (_overloaded(step) and not reasons & _CLIENT):
        return _Verdict.BROKEN
    if p99 is None or reasons & _UNREADABLE:
        return _Verdict.UNDECIDED
    if p99.low is not None and p99.low > bound_ns:
        return _Verdict.BROKEN
    if p99.high is not None and p99.high <= bound_ns:
        return _Verdict.KEPT
    return _Verdict.UNDECIDED


def _too_few(step: SearchStep) -> bool:
    """Whether its p99 has no interval. A lower rate, in the same time, would tell even less."""
    p99 = step.latency_ns.get("p99")
    return not failed(step) and not _overloaded(step) and (p99 is None or p99.high is None)


def _overloaded(step: SearchStep) -> bool:
    return step.ended_by is EndedBy.OVER_SATURATED or any(doubt.reason in _OVERLOAD for doubt in step.doubts)


def _at(search: Search, rate_rps: float) -> OpenLoop:
    """Rates of four digits: they are read by people, and a bracket's ends differ by more."""
    return OpenLoop(float(f"{rate_rps:.4g}"), search.arrival, search.burstiness)
