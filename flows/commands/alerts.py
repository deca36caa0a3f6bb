"""`nightbench alerts`, and what a person says of one: `nightbench alerts ack`, `false`, `resolve`."""

import json as jsonlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal

from pydantic import ConfigDict, TypeAdapter
from rich.console import Console
from rich.markup import escape

from db.notices import Troubled
from db.store import Store
from flows.commands.common import current_store
from flows.console import open_console, table
from flows.notify import send_waiting, tell_missing
from flows.prefect_settings import configure
from flows.services import running_prefect
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertState, Member
from nightbench.judge.life import AlertEvent, AlertPrecision
from nightbench.judge.notice import NoticeState
from nightbench.judge.words import change, count, figure, metric_name, odds
from nightbench.record import ConfirmationRecord
from nightbench.settings import Settings

__all__ = ["alerts"]

_Action = Literal["list", "show", "ack", "false", "resolve"]
_SAYS: Final = {"ack": AlertState.ACKNOWLEDGED, "false": AlertState.FALSE, "resolve": AlertState.RESOLVED}
_DAYS = 90
_MOST = 200
"""Alerts listed at once: the older ones are in the database."""
_MESSAGES_DAYS = 7


def alerts(
    action: _Action = "list",
    number: int | None = None,
    /,
    *,
    why: str | None = None,
    all: bool = False,  # noqa: A002 - the option's name
    suite: str | None = None,
    json: bool = False,
) -> None:
    """List the alerts that are open or acknowledged, show one, or say what you know of it.

    Parameters
    ----------
    action
        `list`; `show` all that is known of one; `ack`nowledge one: it is being looked after; `resolve` one: it was
        true, and is over; or call one `false`: it should never have been raised.
    number
        The alert that `show`, `ack`, `false` and `resolve` are about.
    why
        With `ack`, `false` and `resolve`: why, in your words.
    all
        With `list`: the closed ones too.
    suite
        With `list`: those of this suite alone.
    json
        With `list` and `show`: print JSON instead.
    """
    if action == "list":
        _refuse(action, {"NUMBER": number is not None, "--why": why is not None}, "write `nightbench alerts show N`")
    else:
        _refuse(action, {"--all": all, "--suite": suite is not None}, "leave it out")
    if action in _SAYS:
        _refuse(action, {"--json": json}, "leave it out")
        if why is None:
            raise UsageError(f"--why: say why, for whoever reads it next: `nightbench alerts {action} N --why TEXT`")
    elif action == "show":
        _refuse(action, {"--why": why is not None}, "leave it out")
    if action != "list" and number is None:
        raise UsageError(f"{action}: which alert? write its number; `nightbench alerts` lists them")
    settings, console = Settings.from_environment(), open_console()
    with current_store(settings, Console(stderr=True) if json else console) as store:
        if number is None:
            _reach_prefect(settings)
            tell_missing(settings, store)
            send_waiting(settings, store)
            _list(store, console, all=all, suite=suite, json=json)
        elif action in _SAYS:
            said = store.change_alert(number, _SAYS[action], why or "", datetime.now(UTC))
            console.print(f"alert {number} is {said.state}: {said.finding.title}", markup=False, soft_wrap=True)
        else:
            _show(store, console, number, json=json)


def _reach_prefect(settings: Settings) -> None:
    """Messages go through the user's own Prefect, or the one that an earlier command left up. None is started."""
    own, ours = os.environ.get("PREFECT_API_URL"), running_prefect(settings)
    if api_url := own or (ours and ours.api_url):
        configure(settings, api_url)


def _refuse(action: str, given: dict[str, bool], remedy: str) -> None:
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{name}: does not go with {action}; {remedy}")


def _list(store: Store, console: Console, *, all: bool, suite: str | None, json: bool) -> None:  # noqa: A002 - as above
    now = datetime.now(UTC)
    found = store.alerts(live=not all, suite=suite, limit=_MOST + 1)
    shown, precision = found[:_MOST], store.precision(_DAYS, now)
    troubled = store.troubled_notices(now - timedelta(days=_MESSAGES_DAYS))
    if json:
        told = {
            "alerts": [_plain(Alert, alert) for alert in shown],
            "precision": {**_plain(AlertPrecision, precision), "share": _plain(Estimate | None, precision.share)},
            "messages_in_trouble": [
                {"run_id": each.notice.run_id, "channel": each.notice.channel, "state": each.state, "error": each.error}
                for each in troubled
            ],
        }
        print(jsonlib.dumps(told, indent=2))
        return
    if shown:
        console.print(table("alerts", [_row(alert) for alert in shown]))
    else:
        console.print("no alerts" if all else "no live alerts; `nightbench alerts --all` lists the closed ones")
    if len(found) > _MOST:
        console.print(f"these are the newest {_MOST}")
    console.print(_precision_line(precision))
    for line in map(_trouble_line, troubled):
        console.print(line, markup=False, style="yellow", soft_wrap=True)


def _row(alert: Alert) -> dict[str, str]:
    return {
        "alert": str(alert.number),
        "state": alert.state,
        "since": f"{alert.opened_at.astimezone():%Y-%m-%d %H:%M}",
        "nights": str(alert.nights),
        "suite": escape(alert.suite),
        # A table takes what is in brackets for a style.
        "what": escape(f"{alert.finding.kind}: {alert.finding.title}"),
        "before -> after": _moved(alert.finding.members[0]) if alert.finding.members else "-",
    }


def _moved(member: Member) -> str:
    metric, moved = member.key.metric, member.change
    return f"{metric_name(metric)} {figure(metric, moved.before)} -> {figure(metric, moved.after)}"


def _precision_line(precision: AlertPrecision) -> str:
    share = precision.share
    if share is None or share.low is None or share.high is None:
        return f"of {count(precision.raised, 'alert')} raised in {precision.days} days, people have judged none yet"
    return (
        f"of {count(precision.judged, 'alert')} people judged in {precision.days} days, {precision.true} "
        f"{'was' if precision.true == 1 else 'were'} true: "
        f"{100 * share.value:.0f} % ({100 * share.low:.0f}-{100 * share.high:.0f})"
    )


_BECAME: Final = {
    NoticeState.WAITING: "was not delivered, and is tried again",
    NoticeState.FAILED: "was not delivered, and is given up",
    NoticeState.UNKNOWN: "was perhaps not delivered, and is not sent again",
}


def _trouble_line(troubled: Troubled) -> str:
    notice = troubled.notice
    return f"the message of {notice.run_id} to {notice.channel} {_BECAME[troubled.state]}: {troubled.error}"


def _show(store: Store, console: Console, number: int, *, json: bool) -> None:
    alert, events = store.alert(number), store.alert_events(number)
    wanted = {member.confirmation_id for member in alert.finding.members}
    runs = dict.fromkeys([alert.opened_run_id, alert.last_run_id])
    of_runs = [record for run_id in runs for record in store.records(run_id, ConfirmationRecord)]
    reruns = [each for each in of_runs if isinstance(each, ConfirmationRecord) and each.confirmation_id in wanted]
    if json:
        told = {
            "alert": _plain(Alert, alert),
            "events": [_plain(AlertEvent, event) for event in events],
            "confirmations": [_plain(ConfirmationRecord, each) for each in reruns],
        }
        print(jsonlib.dumps(told, indent=2))
        return

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    finding = alert.finding
    say(f"alert {number}, {alert.state}: {finding.title}")
    say(f"  {finding.kind} in {alert.suite}: {finding.subject}")
    if finding.detail:
        say(f"  {finding.detail}")
    say(f"  found on {count(alert.nights, 'night')}, from {alert.opened_run_id} to {alert.last_run_id}")
    _section(say, "series, the worst first", [line for member in finding.members for line in _member_lines(member)])
    _section(
        say, "what changed since the last good night", [f"{name}: {what}" for name, what in finding.changed.items()]
    )
    _section(say, "re-runs", [line for each in reruns for line in _rerun_lines(each)])
    _section(say, "its life", map(_event_line, events))


def _section(say: Callable[[str], None], heading: str, lines: "list[str] | map[str]") -> None:
    for place, line in enumerate(lines):
        if not place:
            say(heading)
        say(f"  {line}")


def _member_lines(member: Member) -> list[str]:
    moved, direction = member.change, member.key.metric.direction
    lines = [
        f"{member.label}: {_moved(member)}, {change(direction, Estimate(moved.ratio))}",
        f"  for {count(moved.nights, 'night')}, since {moved.since}; last good: {moved.last_before}; where nothing "
        f"changed, history shows this much by chance {odds(moved.p_value)} times",
    ]
    if member.ratio is not None:
        lines.append(f"  re-run: {change(direction, member.ratio)}")
    return lines


def _rerun_lines(record: ConfirmationRecord) -> list[str]:
    cannot = "".join(f"; not changed back: {name}: {what}" for name, what in record.unrestored.items())
    return [
        f"{record.outcome} by {count(record.pairs, 'pair')} in {record.spent_ns / 1e9:.0f} s against "
        f"{record.good_run_id}, {metric_name(record.metric)}: {record.detail}{cannot}"
    ]


def _event_line(event: AlertEvent) -> str:
    became = f"{event.before} -> {event.after}" if event.before else str(event.after)
    night = f" in {event.run_id}" if event.run_id else ""
    return f"{event.at.astimezone():%Y-%m-%d %H:%M} {became} by {event.who}{night}: {event.why}"


def _plain(kind: Any, value: object) -> Any:
    """As JSON's types; JSON has no NaN, so that is a text."""
    return jsonlib.loads(_adapter(kind).dump_json([value]))[0]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(list[kind], config=ConfigDict(ser_json_inf_nan="strings"))
