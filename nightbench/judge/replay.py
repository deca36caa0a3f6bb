"""The history rule over whole series, night by night, each night knowing only what was known then."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightbench.figures import Estimate
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.rule import anchor_of, suspect
from nightbench.judge.series import Direction, Point
from nightbench.judge.verdict import Change

__all__ = ["Raised", "Replayed", "replay"]


@dataclass(frozen=True, slots=True)
class Raised:
    """One suspicion."""

    night: str
    """On which it was raised; `Change.since` is the night that it locates."""
    change: Change
    worse: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """One series."""

    series: str
    direction: Direction
    nights: int
    judged: int
    """Nights that had enough valid ones before them and were not doubted themselves."""
    raised: tuple[Raised, ...]


def replay(series: str, points: Sequence[Point], direction: Direction, effect: float, policy: JudgePolicy) -> Replayed:
    """Every firm suspicion, oldest first.

    After one the series is re-based at the night that it locates, as by a confirmed change: only nights from there on
    are history, and their first ones set a new anchor.
    """
    raised: list[Raised] = []
    start, judged = 0, 0
    anchor: Estimate | None = None
    for end in range(1, len(points) + 1):
        known = points[start:end]
        if anchor is None:
            anchor = anchor_of(known, policy)
        tonight = known[-1]
        judged += not tonight.doubted and sum(not each.doubted for each in known) > policy.min_nights
        change = suspect(known, direction, effect, policy, anchor)
        if change is None or not change.firm:
            continue
        raised.append(Raised(tonight.night, change, change.worse(direction)))
        start += next(at for at, point in enumerate(known) if point.night == change.since)
        anchor = anchor_of(points[start:end], policy)
    return Replayed(series, direction, len(points), judged, tuple(raised))
