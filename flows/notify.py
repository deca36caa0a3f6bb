"""The night's message on its way: into the outbox, out through Prefect's notification blocks, and as events."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from db.store import Store
from nightbench.judge.alert import Alert, AlertKind, Member
from nightbench.judge.message import Links, Morning, message
from nightbench.judge.verdict import Outcome
from nightbench.record import ConfirmationRecord, TrialRecord
from nightbench.settings import Settings
from tasks.ab.afterwards import Settled
from tasks.judge import Judged
from tasks.notify import Deliveries, Outbox, deliver, send_due
from tasks.overdue import Missed, gap_over, missed_nights
from tasks.session import Session

__all__ = [
    "EVENTS",
    "RECOVERED",
    "emit_changes",
    "prefect_is_there",
    "put_message",
    "send_waiting",
    "tell",
    "tell_missing",
    "tell_settled",
]

_PRECISION_DAYS = 90

_RENDERS_MARKDOWN = frozenset({"custom-webhook", "discord-webhook", "mattermost-webhook", "ms-teams-webhook"})
"""Block types whose readers see Markdown as it is meant; the others would see its asterisks."""

EVENTS: Mapping[AlertKind, str] = {
    AlertKind.REGRESSION: "nightbench.regression.confirmed",
    AlertKind.UNCONFIRMED: "nightbench.regression.unconfirmed",
    AlertKind.ENVIRONMENT: "nightbench.environment.changed",
    AlertKind.PARITY: "nightbench.parity.broken",
    AlertKind.FAILED_SERVER: "nightbench.server.failed",
    AlertKind.MISSING_NIGHT: "nightbench.night.missing",
    AlertKind.BASELINE_EXPIRED: "nightbench.baseline.expired",
}
"""What a new alert is called among Prefect's events, for automations to be triggered by."""
RECOVERED = "nightbench.alert.recovered"


def tell(session: Session, judged: Judged, run_url: str | None = None) -> Deliveries | None:
    """The end of a judged night: its message into the outbox, its events, and out with all that waits.

    ``None`` where Prefect is not there to send it now, or no database to keep it: another command sends it later.
    """
    store = session.store
    if store is None:
        return None
    now = datetime.now(UTC)
    report = session.folder / "report.html"
    trials = store.records(judged.run_id, TrialRecord)
    morning = Morning(
        suite=session.suite.name,
        run_id=judged.run_id,
        alerts=judged.alerts,
        recovered=[*judged.recovered, *gap_over(store, session.suite.name, session.hardware, now)],
        verdicts=judged.verdicts,
        confirmations={record.confirmation_id: record for record in judged.confirmations},
        trials=[record for record in trials if isinstance(record, TrialRecord)],
        policy=session.suite.judge,
        failure=judged.failure,
        precision=store.precision(_PRECISION_DAYS, now),
        links=Links(
            grafana=session.settings.grafana_url,
            run=run_url,
            report=str(report) if report.exists() else None,
            logs=str(session.folder),
        ),
    )
    put_message(morning, session.settings, store)
    if prefect_is_there():
        emit_changes(morning)
    return send_waiting(session.settings, store)


def tell_missing(settings: Settings, store: Store) -> list[Missed]:
    """Look for nights that did not happen, or came after all, and leave a message for each; once, however often one
    looks."""
    missed = missed_nights(store)
    for each in missed:
        morning = Morning(each.suite, each.run_id, each.alerts, each.over, links=Links(settings.grafana_url))
        put_message(morning, settings, store, occasion="missing" if each.alerts else "back")
        if (each.news or each.over) and prefect_is_there():
            emit_changes(morning)
    return missed


def tell_settled(
    alert: Alert,
    settled: Settled,
    records: Sequence[ConfirmationRecord],
    session: Session,
    store: Store,
    page: str | None,
) -> None:
    """What a re-run that was asked for has decided of ``alert``: a message of its own, and its events; nothing where
    it decided nothing, or added to a regression that somebody looks after. ``page`` is where the re-run is shown."""
    confirmed = settled.confirmed
    morning = Morning(
        suite=alert.suite,
        run_id=alert.last_run_id,
        alerts=confirmed,
        # One that turned out to be a regression is over by name only.
        recovered=() if any(record.outcome is Outcome.CONFIRMED for record in records) else settled.over,
        confirmations={record.confirmation_id: record for record in records},
        policy=session.suite.judge,
        precision=store.precision(_PRECISION_DAYS, datetime.now(UTC)),
        links=Links(grafana=session.settings.grafana_url, run=page, logs=str(session.folder)),
    )
    again = "-".join(sorted({record.confirmation_id.rpartition("-")[2] for record in records}))
    put_message(morning, session.settings, store, occasion=f"alert-{alert.number}-{again}")
    if prefect_is_there():
        emit_changes(morning)
    send_waiting(session.settings, store)


def put_message(morning: Morning, settings: Settings, outbox: Outbox, occasion: str = "") -> bool:
    """Leave the night's message for every channel in the outbox; whether there was anything to say.

    Done again, it changes nothing: a night has one message a channel. ``occasion`` tells apart what is said about a
    night at another time, such as that the next one is missing.
    """
    said = message(morning)
    if said is None:
        return False
    for channel in settings.notify:
        body = said.markdown if channel.partition("/")[0] in _RENDERS_MARKDOWN else said.plain
        outbox.put_notice(morning.run_id, f"{channel}#{occasion}" if occasion else channel, said.subject, body)
    return True


def send_waiting(settings: Settings, outbox: Outbox) -> Deliveries | None:
    """Send what is due, from this night and earlier ones; ``None`` where Prefect, which has the blocks, is not there.

    Prefect must be configured in this process (`flows.prefect_settings.configure`), or its settings be the user's own.
    """
    if not settings.notify:
        return Deliveries()
    return send_due(outbox, deliver) if prefect_is_there() else None


def prefect_is_there() -> bool:
    """Asked before anything of Prefect's is used: without a server it would start one of its own, which takes half a
    minute and knows none of our blocks."""
    from prefect.settings import get_current_settings

    from flows.services import answers

    return answers(get_current_settings().api.url or "")


def emit_changes(morning: Morning) -> None:
    """One Prefect event for every alert that this night opened or saw recover."""
    for alert in morning.new:
        _emit(EVENTS[alert.finding.kind], alert, morning)
    for alert in morning.recovered:
        _emit(RECOVERED, alert, morning)


def _emit(name: str, alert: Alert, morning: Morning) -> None:
    from prefect.events import emit_event

    finding = alert.finding
    emit_event(
        name,
        resource={
            "prefect.resource.id": f"nightbench.alert.{alert.number}",
            "prefect.resource.name": finding.title,
            "nightbench.suite": alert.suite,
            "nightbench.kind": finding.kind.value,
        },
        payload={
            "alert": alert.number,
            "suite": alert.suite,
            "run_id": morning.run_id,
            "kind": finding.kind.value,
            "subject": finding.subject,
            "title": finding.title,
            "detail": finding.detail,
            "nights": alert.nights,
            "severity": finding.severity,
            "changed": dict(finding.changed),
            "members": [_told(member) for member in finding.members[:_MOST_MEMBERS]],
            "members_total": len(finding.members),
        },
        # Of a night that is told of again, as after a resume, it is the same event, which Prefect takes once.
        id=uuid5(NAMESPACE_URL, f"{name}:{alert.suite}:{alert.number}:{alert.opened_at.isoformat()}:{morning.run_id}"),
    )


_MOST_MEMBERS = 50
"""An event is no report: Prefect refuses very large ones."""


def _told(member: Member) -> dict[str, object]:
    moved, ratio = member.change, member.ratio
    return {
        "fingerprint": member.key.fingerprint,
        "metric": member.key.metric.value,
        "label": member.label,
        "before": moved.before.value,
        "after": moved.after.value,
        "since": moved.since,
        "p_value": moved.p_value,
        "rerun_ratio": None if ratio is None else [ratio.low, ratio.value, ratio.high],
    }
