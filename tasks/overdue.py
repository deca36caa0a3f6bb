"""Stage: find the nights that did not happen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from nightbench.judge.alert import Alert, AlertKind, Finding
from nightbench.judge.schedule import Ran, missing_night

if TYPE_CHECKING:
    from db.query import Night

__all__ = ["Missed", "Runs", "missed_nights"]

_LOOK_BACK = 1000
"""Runs, newest first: of a few suites, enough to know what is usual."""


class Runs(Protocol):
    """What is known of runs and their alerts: `db.store.Store`."""

    def history(self, limit: int = 20, suite: str | None = None) -> "list[Night]": ...
    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]: ...
    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]: ...


@dataclass(frozen=True, slots=True)
class Missed:
    """One suite whose night is missing."""

    suite: str
    run_id: str
    """The last that completed: what is said of the gap is said of the time after it."""
    alerts: tuple[Alert, ...]
    news: bool
    """Whether this was not known before."""


def missed_nights(store: Runs, now: datetime | None = None) -> list[Missed]:
    """Raise an alert for every suite whose next night is overdue; asked again, it is the same alert."""
    now = now or datetime.now(UTC)
    by_suite: dict[str, list[Ran]] = {}
    for night in store.history(limit=_LOOK_BACK):
        ran = Ran(night.run_id, night.started_at, night.finished_at, night.status)
        by_suite.setdefault(night.suite, []).append(ran)
    missed = []
    for suite, runs in by_suite.items():
        finding = missing_night(suite, runs, now)
        if finding is not None:
            last = max((run for run in runs if run.status == "completed"), key=lambda run: run.started_at)
            live = store.alerts(live=True, suite=suite, limit=_LOOK_BACK)
            known = any(alert.finding.kind is AlertKind.MISSING_NIGHT for alert in live)
            alerts = tuple(store.raise_alerts(suite, last.run_id, [finding], now))
            missed.append(Missed(suite, last.run_id, alerts, news=bool(alerts) and not known))
    return missed
