"""Whether a night is missing: what is silent because nothing ran must not look like a night without news."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from nightbench.judge.alert import AlertKind, Finding
from nightbench.numbers import number

__all__ = ["Ran", "missing_night", "next_due"]

_HABIT = 5
"""So many intervals make a habit; fewer are a suite being tried out."""
_LOOK_BACK = 21
"""Intervals that are looked at: three weeks of nights."""
_SHORTEST = timedelta(hours=1)
"""What runs more often is run by hand."""
_REGULAR = 0.25
_MOSTLY = 2 / 3
_OVERDUE = 0.5
"""Of an interval: an hourly suite may be half an hour late, a nightly one half a day."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a suite, whatever became of it."""

    run_id: str
    started_at: datetime
    finished_at: datetime | None
    """``None`` while it runs, and for ever if it was killed."""
    status: str | None
    """``completed``, ``failed`` or ``cancelled``, once finished."""


def next_due(completed: Sequence[datetime]) -> datetime | None:
    """When the next night of a suite should begin, by when the completed ones began, oldest first.

    The usual interval is the median of those that followed a night of the same weekday, if there are two, else of all:
    a suite that rests at weekends is not missed on Saturdays. ``None`` where the suite has no such habit: fewer than
    `_HABIT` intervals, shorter ones than `_SHORTEST`, or ones that mostly lie further than a quarter from their median.
    """
    starts = completed[-_LOOK_BACK - 1 :]
    intervals = [later - earlier for earlier, later in pairwise(starts)]
    if len(intervals) < _HABIT:
        return None
    usual = _median(intervals)
    regular = sum(abs(interval - usual) <= _REGULAR * usual for interval in intervals)
    if usual < _SHORTEST or regular < _MOSTLY * len(intervals):
        return None
    last = starts[-1]
    alike = [
        interval
        for start, interval in zip(starts, intervals, strict=False)
        if start.astimezone(last.tzinfo).weekday() == last.weekday()
    ]
    return last + (_median(alike) if len(alike) >= 2 else usual)


def _median(spans: Sequence[timedelta]) -> timedelta:
    return timedelta(seconds=median(span.total_seconds() for span in spans))


def missing_night(subject: str, runs: Sequence[Ran], now: datetime, due: datetime | None = None) -> Finding | None:
    """That the next night of a suite is overdue, or that its last one began and came to no end.

    ``runs`` are those of the suite on one kind of machine, in any order; ``subject`` says which. ``due`` is when a
    schedule says that the next one begins after the last completed one; without it their own habit says so
    (`next_due`). It is overdue by more than half the interval, so that a night that begins late, or takes long, is
    none. A run that was cancelled was cancelled by somebody, who knows; it counts as having begun.
    """
    runs = sorted(runs, key=lambda run: run.started_at)
    completed = [run for run in runs if run.status == "completed"]
    if not completed:
        return None
    last = completed[-1]
    due = due or next_due([run.started_at for run in completed])
    if due is None or due <= last.started_at:
        return None
    interval = due - last.started_at
    since = runs[runs.index(last) + 1 :]
    cancelled = [run.started_at for run in since if run.status == "cancelled"]
    due = max([due, *(start + interval for start in cancelled)])
    if now <= due + _OVERDUE * interval or any(_may_still_run(run, completed, now) for run in since):
        return None
    late = (now - due) / timedelta(hours=1)
    detail = (
        f"It was due at {due:%Y-%m-%d %H:%M %Z}, {number(late, 0 if late >= 2 else 1)} h ago; "
        f"the last one to complete is {last.run_id}."
    )
    return Finding(AlertKind.MISSING_NIGHT, subject, f"{subject}: {_what(since)}", detail)


def _may_still_run(run: Ran, completed: Sequence[Ran], now: datetime) -> bool:
    """Not finished, and begun no longer ago than twice what the suite usually takes."""
    took = [each.finished_at - each.started_at for each in completed[-_LOOK_BACK:] if each.finished_at]
    return run.status is None and bool(took) and now - run.started_at <= 2 * _median(took)


def _what(since: Sequence[Ran]) -> str:
    """Of the runs after the last completed one, the newest says why there is no night."""
    if not since:
        return "no night began"
    newest = since[-1]
    became = "never finished" if newest.status is None else newest.status
    return f"the night of {newest.started_at:%Y-%m-%d %H:%M %Z} {became}, run {newest.run_id}"
