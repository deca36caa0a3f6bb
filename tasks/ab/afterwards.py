"""An alert after a re-run that was asked for by hand or by an automation: what was open about it is settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from nightbench.judge.afterwards import afterwards
from nightbench.judge.alert import Alert, AlertKind, Finding
from nightbench.judge.series import SeriesKey
from nightbench.judge.standing import Baseline
from nightbench.record import ConfirmationRecord

__all__ = ["Alerts", "Settled", "settle_alert"]


class Alerts(Protocol):
    """What keeps alerts: `db.store.Store`."""

    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]: ...
    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]: ...
    def recover(
        self, suite: str, run_id: str, closed: Mapping[tuple[AlertKind, str], str], now: datetime
    ) -> list[Alert]: ...
    def set_baselines(self, baselines: Sequence[Baseline]) -> None: ...


@dataclass(frozen=True, slots=True)
class Settled:
    """What changed; nothing where no series was decided."""

    confirmed: tuple[Alert, ...] = ()
    """Regressions, be it new ones or such as live already and have these series now."""
    over: tuple[Alert, ...] = ()


_ALL = 1000


def settle_alert(
    store: Alerts, alert: Alert, records: Sequence[ConfirmationRecord], now: datetime | None = None
) -> Settled:
    """Put into ``store`` what ``records`` say of ``alert``, as the night would have done, had it found the time.

    It changes nothing about an alert that a person has closed meanwhile.
    """
    now = now or datetime.now(UTC)
    live = store.alerts(live=True, suite=alert.suite, limit=_ALL)
    if all(each.number != alert.number for each in live):
        return Settled()
    by_series = {SeriesKey(each.suite, each.fingerprint, each.metric): each for each in records}
    found = afterwards(alert, by_series, live)
    raised = store.raise_alerts(alert.suite, alert.last_run_id, found.findings, now)
    # Between the two, as when a night is judged: a baseline hides what it starts with.
    store.set_baselines(found.baselines)
    closed = {(alert.finding.kind, alert.finding.subject): found.over} if found.over else {}
    over = store.recover(alert.suite, alert.last_run_id, closed, now)
    return Settled(tuple(each for each in raised if each.finding.kind is AlertKind.REGRESSION), tuple(over))
