"""Stage: find the nights that did not happen, and those that came after all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from nightbench.judge.alert import Alert, AlertKind, Finding
from nightbench.judge.schedule import Ran, missing_night

if TYPE_CHECKING:
    from db.query import Night

__all__ = ["Missed", "Runs", "gap_over", "missed_nights"]

_LOOK_BACK = 1000
"""Runs, newest first: of a few suites, enough to know what is usual."""


class Runs(Protocol):
    """What is known of runs and their alerts: `db.store.Store`."""

    def history(self, limit: int = 20, suite: str | None = None) -> "list[Night]": ...
    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]: ...
    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]: ...
    def recover(
        self, suite: str, run_id: str, closed: Mapping[tuple[AlertKind, str], str], now: datetime
    ) -> list[Alert]: ...


@dataclass(frozen=True, slots=True)
class Missed:
    """One suite whose night is missing on one kind of machine, or is missing no more."""

    suite: str
    hardware: str
    run_id: str
    """The last that completed there: what is said of the gap is said of the time after it."""
    alerts: tuple[Alert, ...]
    over: tuple[Alert, ...]
    """Of an earlier gap, after which a night has completed."""
    news: bool
    """Whether this was not known before."""


def missed_nights(store: Runs, now: datetime | None = None) -> list[Missed]:
    """Raise an alert for every suite whose next night is overdue; asked again, it is the same alert.

    Each kind of machine has nights of its own: those of one do not stand for another's. A gap after which a night has
    completed is over (`gap_over`): the next one is another alert.
    """
    now = now or datetime.now(UTC)
    found: dict[tuple[str, str], list[Ran]] = {}
    for night in store.history(limit=_LOOK_BACK):
        ran = Ran(night.run_id, night.started_at, night.finished_at, night.status)
        found.setdefault((night.suite, night.hardware), []).append(ran)
    missed = []
    for (suite, hardware), runs in found.items():
        completed = [run for run in runs if run.status == "completed"]
        if not completed:
            continue
        last = max(completed, key=lambda run: run.started_at)
        over = tuple(gap_over(store, suite, hardware, now))
        finding = missing_night(_subject(suite, hardware), runs, now)
        known = finding is None or bool(_told_of(store, suite, hardware))
        alerts = () if finding is None else tuple(store.raise_alerts(suite, last.run_id, [finding], now))
        if finding is not None or over:
            missed.append(Missed(suite, hardware, last.run_id, alerts, over, news=bool(alerts) and not known))
    return missed


def gap_over(store: Runs, suite: str, hardware: str, now: datetime) -> list[Alert]:
    """Resolve the alert that nights of this suite are missing on this kind of machine, if one completed there after
    that which the alert counts from; that alert."""
    told = _told_of(store, suite, hardware)
    nights = store.history(_LOOK_BACK, suite) if told else []
    here = (night for night in nights if night.hardware == hardware and night.status == "completed")
    last = next((night.run_id for night in here), None)
    if last is None or all(alert.last_run_id == last for alert in told):
        return []
    closed = {(AlertKind.MISSING_NIGHT, _subject(suite, hardware)): f"a night came after all: {last}"}
    return store.recover(suite, last, closed, now)


def _subject(suite: str, hardware: str) -> str:
    return f"{suite} on {hardware}"


def _told_of(store: Runs, suite: str, hardware: str) -> list[Alert]:
    wanted = AlertKind.MISSING_NIGHT, _subject(suite, hardware)
    live = store.alerts(live=True, suite=suite, limit=_LOOK_BACK)
    return [alert for alert in live if (alert.finding.kind, alert.finding.subject) == wanted]
