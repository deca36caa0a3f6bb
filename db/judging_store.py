"""The part of the store that judging needs: series, baselines, alerts, messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from db import alerts, history, notices
from db.database import Database
from db.history import Baseline
from db.notices import Troubled
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding
from nightbench.judge.life import AlertEvent, AlertPrecision
from nightbench.judge.notice import Notice, NoticeState
from nightbench.judge.series import ChangePoint, NightPoint, Point, Predecessor, SeriesHistory, SeriesKey
from nightbench.record import JudgementRecord

__all__ = ["JudgingStore"]


class JudgingStore(Database):
    """Series over nights, and what is said of them. Each method is one transaction, like all of the store's."""

    def put_points(self, run_id: str, points: Sequence[NightPoint]) -> None:
        """Keep what a night adds to its series, in place of all that was kept of this night before."""
        with self._transaction() as connection:
            history.put_points(connection, run_id, points)

    def series_of(self, run_id: str, nights: int) -> dict[SeriesKey, SeriesHistory]:
        """What each series with a point in this run is judged by: at most ``nights`` points, doubted ones among them.

        They are of completed runs of the same suite that started before this one, not older than the newest baseline of
        the series, and this run's own, which is the last.
        """
        with self._transaction() as connection:
            return history.series_of(connection, run_id, nights)

    def predecessors(self, run_id: str, nights: int, young: int = 0) -> dict[SeriesKey, Predecessor]:
        """For this run's series that are new: the one of the last completed night that each goes on from, if any."""
        with self._transaction() as connection:
            return history.predecessors(connection, run_id, nights, young)

    def set_baselines(self, rows: Sequence[Baseline], *, unless_newer: bool = False) -> None:
        """Let series be their own history from a night on. Of several settings of one series the last one counts; with
        ``unless_newer`` one that begins before the series' present one changes nothing."""
        with self._transaction() as connection:
            history.set_baselines(connection, history.without_outdated(connection, rows) if unless_newer else rows)

    def whole_series(self, suite: str) -> dict[SeriesKey, tuple[Point, ...]]:
        """Every series of a suite over all its completed runs, oldest first, whatever its baselines are."""
        with self._transaction() as connection:
            return history.whole_series(connection, suite)

    def put_changes(self, found: Mapping[SeriesKey, Sequence[ChangePoint]]) -> None:
        """Keep where series step, in place of what was kept of these series before."""
        with self._transaction() as connection:
            history.put_changes(connection, found)

    def canary_history(self, run_id: str, nights: int) -> dict[tuple[str, str], tuple[Point, ...]]:
        """By canary and device: its median durations in nanoseconds, tonight's last, on machines like tonight's."""
        with self._transaction() as connection:
            return history.canary_history(connection, run_id, nights)

    def last_completed(self, run_id: str) -> str | None:
        """The newest completed run before this one, of its suite and on such a machine."""
        with self._transaction() as connection:
            return history.last_completed(connection, run_id)

    def judgements(self, run_id: str, nights: int) -> list[JudgementRecord]:
        """The judgements that found a change, of the ``nights`` before this run, oldest first."""
        with self._transaction() as connection:
            return history.judged_changes(connection, run_id, nights)

    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]:
        """Open an alert for each finding, or let the live one of the same kind and subject go on; those alerts.

        Nothing is opened that was closed after it was found this very night, or that a person called false before.
        """
        with self._transaction() as connection:
            return alerts.raise_alerts(connection, suite, run_id, findings, now)

    def recover(
        self, suite: str, run_id: str, closed: Mapping[tuple[AlertKind, str], str], now: datetime
    ) -> list[Alert]:
        """Resolve the live alerts of these kinds and subjects, each for the reason given; those alerts."""
        with self._transaction() as connection:
            return alerts.recover(connection, suite, run_id, closed, now)

    def change_alert(self, number: int, state: AlertState, why: str, now: datetime) -> Alert:
        """Change an alert's state as a person asks for. Raises `UsageError` if there is none, or it cannot be."""
        with self._transaction() as connection:
            return alerts.change_alert(connection, number, state, why, now)

    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]:
        """The newest first; only live ones, or those of one suite."""
        with self._transaction() as connection:
            return alerts.list_alerts(connection, live=live, suite=suite, limit=limit)

    def alert(self, number: int) -> Alert:
        """The alert of this number; `UsageError` if there is none."""
        with self._transaction() as connection:
            return alerts.alert(connection, number)

    def alert_events(self, number: int) -> list[AlertEvent]:
        """All that became of an alert, oldest first."""
        with self._transaction() as connection:
            return alerts.events_of(connection, number)

    def precision(self, days: int, now: datetime) -> AlertPrecision:
        """Of the alerts opened in the last ``days``: how many people judged, and how many of those were false."""
        with self._transaction() as connection:
            return alerts.precision(connection, days, now)

    def put_notice(self, run_id: str, channel: str, subject: str, body: str) -> bool:
        """Put a night's message for a channel into the outbox; ``False`` if the night has one there already."""
        with self._transaction() as connection:
            return notices.put_notice(connection, run_id, channel, subject, body)

    def claim_notices(self, now: datetime, most: int | None = None) -> list[Notice]:
        """What is due to be sent, at most ``most``, and is nobody else's from now on. Each must be settled."""
        with self._transaction() as connection:
            return notices.claim_notices(connection, now, most)

    def settle_notice(self, notice_id: int, state: NoticeState, error: str, now: datetime) -> None:
        """Keep what became of a claimed notice; see `db.notices.settle_notice`."""
        with self._transaction() as connection:
            notices.settle_notice(connection, notice_id, state, error, now)

    def troubled_notices(self, since: datetime) -> list[Troubled]:
        """Messages that failed and wait to be tried again, and those given up after ``since``: newest first."""
        with self._transaction() as connection:
            return notices.troubled_notices(connection, since)
