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
    def set_baselines(self, rows: Sequence[Baseline], *, unless_newer: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Settled:
    """What changed; nothing where no series was decided."""

    confirmed: tuple[Alert, ...] = ()
    """The regression: a new one, or one that lives already and has these series now. None where a person has said of
    this very change that it is none."""
    over: tuple[Alert, ...] = ()
    """The alert itself, once none of its series is undecided."""


_ALL = 1000


def settle_alert(
    store: Alerts, asked: Alert, records: Sequence[ConfirmationRecord], now: datetime | None = None
) -> Settled:
    """Put into ``store`` what ``records`` say of the alert that a re-run was ``asked`` for, as the night would have
    done, had it found the time.

    The alert counts as it is by now: nights may have gone by since it was asked. Only one of kind ``unconfirmed`` that
    still lives changes: what was confirmed once is closed by its recovery, or by a person.
    """
    now = now or datetime.now(UTC)
    live = store.alerts(live=True, suite=asked.suite, limit=_ALL)
    alert = next((each for each in live if each.number == asked.number), None)
    if alert is None or alert.finding.kind is not AlertKind.UNCONFIRMED:
        return Settled()
    by_series = {SeriesKey(each.suite, each.fingerprint, each.metric): each for each in records}
    found = afterwards(alert, by_series, live)
    confirmed: list[Alert] = []
    if found.regression is not None:
        # A regression that later nights have found does not go back to this one.
        same = (each.last_run_id for each in live if _is_about(each, AlertKind.REGRESSION, alert.finding.subject))
        newest = max([alert.last_run_id, *same])
        confirmed = store.raise_alerts(alert.suite, newest, [found.regression], now)
    told = {member.key for each in confirmed for member in each.finding.members}
    # Between alert and recovery, as when a night is judged: a baseline hides what it starts with.
    store.set_baselines([each for each in found.baselines if each[0] in told], unless_newer=True)
    store.raise_alerts(alert.suite, alert.last_run_id, [found.undecided], now)
    subject: tuple[AlertKind, str] = (alert.finding.kind, alert.finding.subject)
    closed = {subject: found.over} if found.over else {}
    return Settled(tuple(confirmed), tuple(store.recover(alert.suite, alert.last_run_id, closed, now)))


def _is_about(alert: Alert, kind: AlertKind, subject: str) -> bool:
    return (alert.finding.kind, alert.finding.subject) == (kind, subject)
