"""Alerts in the database: one live alert for one thing, and every change of its state kept."""

import getpass
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from sqlalchemy import Connection, Row, Select, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from db.alert_tables import alert_events, alert_nights, alerts
from db.rows import plain, plain_json
from db.tables import runs
from nightbench.errors import UsageError
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding, Member
from nightbench.judge.life import AlertEvent, AlertPrecision, check_person, known_false

__all__ = ["alert", "change_alert", "events_of", "list_alerts", "precision", "raise_alerts", "recover"]

# One night at a time changes alerts. A person's change waits for it by the rows.
_LOCK = text("SELECT pg_advisory_xact_lock(7105513023)")


def raise_alerts(
    connection: Connection, suite: str, run_id: str, findings: Sequence[Finding], now: datetime
) -> list[Alert]:
    """Open an alert for each finding, or let the live one of the same kind and subject go on; those alerts.

    However often a night is judged, it counts once, and opens nothing again that was closed after it was found there.
    Nor is anything opened for a change that a person called false (`nightbench.judge.life.known_false`).
    """
    connection.execute(_LOCK)
    of_subject = {(finding.kind, finding.subject): finding for finding in findings}
    numbers = (_raise(connection, suite, run_id, finding, now) for finding in of_subject.values())
    return [alert(connection, number) for number in numbers if number is not None]


def _raise(connection: Connection, suite: str, run_id: str, finding: Finding, now: datetime) -> int | None:
    same = (alerts.c.suite == suite, alerts.c.kind == finding.kind, alerts.c.subject == plain(finding.subject))
    newest = _alerts().where(*same).order_by(alerts.c.number.desc()).limit(1).with_for_update(of=alerts)
    found = connection.execute(newest).one_or_none()
    latest = None if found is None else _alert(found)
    fields = _fields(finding)
    if latest is not None and latest.state.live:
        counted = _count_night(connection, latest.number, run_id)
        if counted or latest.last_run_id == run_id:
            here = alerts.c.number == latest.number
            connection.execute(update(alerts).where(here).values(**fields, last_run_id=run_id))
        return latest.number
    if latest is not None:
        nights = select(alert_nights.c.run_id).join(alerts).where(*same, alert_nights.c.run_id == run_id)
        # What a re-run found later in that night may be about other series than what was closed.
        told = {member.key for member in finding.members} <= {member.key for member in latest.finding.members}
        if told and connection.execute(nights).first():
            return None
        if known_false(finding, latest, _started(connection, finding, latest)):
            return None
    opened = insert(alerts).values(
        suite=suite,
        **fields,
        state=AlertState.OPEN,
        opened_run_id=run_id,
        opened_at=now,
        last_run_id=run_id,
        why="",
    )
    number = int(connection.execute(opened.returning(alerts.c.number)).scalar_one())
    _count_night(connection, number, run_id)
    _keep(connection, number, AlertEvent(now, None, AlertState.OPEN, "judge", False, finding.title, run_id))
    return number


def recover(
    connection: Connection, suite: str, run_id: str, closed: Mapping[tuple[AlertKind, str], str], now: datetime
) -> list[Alert]:
    """Resolve the live alerts of these kinds and subjects, each for the reason given; those alerts."""
    connection.execute(_LOCK)
    live = _alerts().where(alerts.c.suite == suite, alerts.c.closed_at.is_(None)).order_by(alerts.c.number)
    resolved = []
    for each in map(_alert, connection.execute(live.with_for_update(of=alerts)).all()):
        why = closed.get((each.finding.kind, each.finding.subject))
        if why is not None:
            event = AlertEvent(now, each.state, AlertState.RESOLVED, "recovery", False, why, run_id)
            resolved.append(_change(connection, each, event))
    return resolved


def change_alert(connection: Connection, number: int, state: AlertState, why: str, now: datetime) -> Alert:
    """Change an alert's state as a person asks for. Raises `UsageError` if there is none, or it cannot be."""
    before = alert(connection, number, lock=True)
    check_person(before, state, why)
    return _change(connection, before, AlertEvent(now, before.state, state, _user(), True, why.strip()))


def alert(connection: Connection, number: int, *, lock: bool = False) -> Alert:
    """The alert of this number; `UsageError` if there is none."""
    query = _alerts().where(alerts.c.number == number)
    # A number beyond the column's is no alert's either.
    found = (
        connection.execute(query.with_for_update(of=alerts) if lock else query).one_or_none()
        if 0 < number < 2**31
        else None
    )
    if found is None:
        raise UsageError(f"alert {number}: there is none of this number; `nightbench alerts --all` lists them")
    return _alert(found)


def list_alerts(connection: Connection, *, live: bool, suite: str | None, limit: int) -> list[Alert]:
    """The newest first."""
    query = _alerts().order_by(alerts.c.opened_at.desc(), alerts.c.number.desc()).limit(limit)
    if live:
        query = query.where(alerts.c.closed_at.is_(None))
    if suite is not None:
        query = query.where(alerts.c.suite == suite)
    return [_alert(row) for row in connection.execute(query)]


def events_of(connection: Connection, number: int) -> list[AlertEvent]:
    """All that became of an alert, oldest first."""
    kept = alert_events.c
    query = select(kept.at, kept.from_state, kept.to_state, kept.who, kept.by_person, kept.why, kept.run_id)
    return [
        AlertEvent(at, before and AlertState(before), AlertState(after), *rest)
        for at, before, after, *rest in connection.execute(query.where(kept.number == number).order_by(kept.id))
    ]


def precision(connection: Connection, days: int, now: datetime) -> AlertPrecision:
    """Of the alerts opened in the last ``days``: how many people judged, and how many of those were false."""
    found = connection.execute(_PRECISION, {"since": now - timedelta(days=days), "now": now}).one()
    return AlertPrecision(days, *found)


_PRECISION = text("""
SELECT count(*), count(*) FILTER (WHERE judged_by_person), count(*) FILTER (WHERE judged_by_person AND false_alarm)
FROM alert_facts WHERE opened_at > :since AND opened_at <= :now
""")


def _change(connection: Connection, before: Alert, event: AlertEvent) -> Alert:
    """An alert is closed when it is closed first: what is said of it later does not make it have lasted longer."""
    closed_at = None if event.after.live else before.closed_at or event.at
    here = alerts.c.number == before.number
    changed = {"state": event.after, "closed_at": closed_at, "why": plain(event.why)}
    connection.execute(update(alerts).where(here).values(changed))
    _keep(connection, before.number, event)
    return alert(connection, before.number)


def _keep(connection: Connection, number: int, event: AlertEvent) -> None:
    connection.execute(
        insert(alert_events).values(
            number=number,
            at=event.at,
            from_state=event.before,
            to_state=event.after,
            who=plain(event.who),
            by_person=event.by_person,
            why=plain(event.why),
            run_id=event.run_id,
        )
    )


def _count_night(connection: Connection, number: int, run_id: str) -> bool:
    """Whether this is a night more."""
    night = insert_unless(alert_nights).values(number=number, run_id=run_id).on_conflict_do_nothing()
    return connection.execute(night.returning(alert_nights.c.run_id)).first() is not None


def _started(connection: Connection, finding: Finding, latest: Alert) -> dict[str, datetime]:
    names = [latest.last_run_id, *(member.change.since for member in finding.members)]
    query = select(runs.c.run_id, runs.c.started_at).where(runs.c.run_id.in_(names), runs.c.started_at.is_not(None))
    return {run.run_id: run.started_at for run in connection.execute(query)}


def _alerts() -> Select[Any]:
    nights = select(func.count()).where(alert_nights.c.number == alerts.c.number).scalar_subquery()
    return select(alerts, nights.label("nights"))


def _alert(row: Row[Any]) -> Alert:
    fields = row._mapping
    return Alert(
        number=fields["number"],
        suite=fields["suite"],
        finding=Finding(
            kind=AlertKind(fields["kind"]),
            subject=fields["subject"],
            title=fields["title"],
            detail=fields["detail"],
            members=_members().validate_python(fields["members"]),
            changed=fields["changed"],
            severity=fields["severity"],
        ),
        state=AlertState(fields["state"]),
        opened_run_id=fields["opened_run_id"],
        opened_at=fields["opened_at"],
        last_run_id=fields["last_run_id"],
        nights=fields["nights"],
        closed_at=fields["closed_at"],
        why=fields["why"],
    )


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "subject": plain(finding.subject),
        "title": plain(finding.title),
        "detail": plain(finding.detail),
        "members": plain_json(_members().dump_json(finding.members)),
        "changed": {plain(name): plain(words) for name, words in finding.changed.items()},
        "severity": finding.severity,
    }


@cache
def _members() -> TypeAdapter[tuple[Member, ...]]:
    return TypeAdapter(tuple[Member, ...], config=ConfigDict(ser_json_inf_nan="strings"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"
