"""The night's one message: what is worth getting up for, with all it takes to judge that from bed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState, Member
from nightbench.judge.life import AlertPrecision
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Verdict
from nightbench.judge.words import MARKDOWN, PLAIN, Pen, change, count, figure, odds, one_line
from nightbench.record import ConfirmationRecord, TrialRecord

__all__ = ["DASHBOARD", "Links", "Message", "Morning", "message", "panel_url"]

DASHBOARD = "nightbench-series"
"""The uid of the Grafana dashboard that shows one series."""

_MOST_ALERTS = 12
"""Of one kind, in full: who has more to read than that opens the dashboard."""
_MOST_MEMBERS = 5
_MOST_CHANGED = 8

_KINDS: Mapping[AlertKind, tuple[str, str]] = {
    AlertKind.REGRESSION: ("confirmed regression", "confirmed regressions"),
    AlertKind.UNCONFIRMED: ("regression that no re-run could decide", "regressions that no re-run could decide"),
    AlertKind.PARITY: ("parity break", "parity breaks"),
    AlertKind.FAILED_SERVER: ("failed server", "failed servers"),
    AlertKind.ENVIRONMENT: ("change of the machine", "changes of the machine"),
    AlertKind.MISSING_NIGHT: ("missing night", "missing nights"),
    AlertKind.BASELINE_EXPIRED: ("expired baseline", "expired baselines"),
}
"""In the order of the message."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where a reader goes on; what is ``None`` is not there."""

    grafana: str | None = None
    """The base address of Grafana."""
    run: str | None = None
    """The night in Prefect."""
    report: str | None = None
    logs: str | None = None
    """A folder on the measuring machine."""


@dataclass(frozen=True, slots=True)
class Morning:
    """All that the message of one night is made of."""

    suite: str
    run_id: str
    alerts: Sequence[Alert]
    """Found tonight: those it opened, and those it found again."""
    recovered: Sequence[Alert] = ()
    """Found last night and tonight no more."""
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    """Tonight's series by what was said of each."""
    confirmations: Mapping[str, ConfirmationRecord] = field(default_factory=dict)
    """By id."""
    trials: Sequence[TrialRecord] = ()
    policy: JudgePolicy = field(default_factory=JudgePolicy)
    precision: AlertPrecision | None = None
    links: Links = Links()
    failure: str = ""
    """Why the night was measured and not judged to its end."""

    def is_new(self, alert: Alert) -> bool:
        return alert.opened_run_id == self.run_id

    @property
    def new(self) -> list[Alert]:
        return [alert for alert in self.alerts if self.is_new(alert)]

    @property
    def continuing(self) -> list[Alert]:
        """Found before tonight, and nobody has said yet that they look after it."""
        return [alert for alert in self.alerts if not self.is_new(alert) and alert.state is AlertState.OPEN]

    @property
    def acknowledged(self) -> list[Alert]:
        return [alert for alert in self.alerts if not self.is_new(alert) and alert.state is AlertState.ACKNOWLEDGED]


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    markdown: str
    plain: str


def message(morning: Morning) -> Message | None:
    """The message of a night; ``None`` where it has nothing to say.

    What makes a night speak: an alert that it opened, one that is found again and that nobody has acknowledged, one
    that is over; and that it could not be judged, since silence means that all is well. An acknowledged alert alone
    keeps silent, for that is what acknowledging is for; it is counted where there is a message anyway.
    """
    if not (morning.new or morning.continuing or morning.recovered or morning.failure):
        return None
    return Message(_subject(morning), _body(morning, MARKDOWN), _body(morning, PLAIN))


def panel_url(grafana: str, key: SeriesKey) -> str:
    """The dashboard's page of one series."""
    variables = {"var-suite": key.suite, "var-fingerprint": key.fingerprint, "var-metric": key.metric.value}
    return f"{grafana.rstrip('/')}/d/{quote(DASHBOARD)}/series?{urlencode(variables)}"


def _subject(morning: Morning) -> str:
    new = [alert.finding.kind for alert in morning.new]
    parts = [count(new.count(kind), *names) for kind, names in _KINDS.items() if kind in new]
    if morning.continuing:
        parts.append(f"{len(morning.continuing)} continuing")
    if morning.recovered:
        parts.append(f"{len(morning.recovered)} recovered")
    if morning.failure:
        parts.append("measured, but not judged")
    return one_line(f"nightbench {morning.suite}: {', '.join(parts)}")


def _body(morning: Morning, pen: Pen) -> str:
    blocks: list[str] = []
    for kind, names in _KINDS.items():
        of_kind = sorted(
            (alert for alert in [*morning.new, *morning.continuing] if alert.finding.kind is kind),
            key=lambda alert: (not morning.is_new(alert), -alert.finding.severity, alert.number),
        )
        if of_kind:
            heading = count(len(of_kind), *names)
            fresh = sum(map(morning.is_new, of_kind))
            blocks.append(pen.heading(heading if fresh == len(of_kind) else f"{heading}, {fresh} new"))
            blocks += [_alert(alert, morning, pen) for alert in of_kind[:_MOST_ALERTS]]
            blocks += _cut(len(of_kind), _MOST_ALERTS)
    if morning.recovered:
        blocks.append(pen.heading(f"{len(morning.recovered)} recovered"))
        blocks.append(_lines(_recovered(morning.recovered[:_MOST_ALERTS], pen)))
        blocks += _cut(len(morning.recovered), _MOST_ALERTS)
    if morning.failure:
        blocks.append(pen.heading("not judged"))
        blocks.append(pen.text(f"The night was measured, and judging it failed: {one_line(morning.failure)}"))
    blocks.append(_lines(_links(morning, pen)))
    if morning.verdicts or not morning.failure:
        blocks.append(pen.text(_last_line(morning)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _cut(whole: int, shown: int) -> list[str]:
    """Long lists are cut, and say by how much."""
    return [f"and {whole - shown:,} more"] if whole > shown else []


def _alert(alert: Alert, morning: Morning, pen: Pen) -> str:
    """Title, then what is known, one line each; of one that was told before, its worst series only."""
    finding, new = alert.finding, morning.is_new(alert)
    nights = "new" if new else f"found on {count(alert.nights, 'night')}"
    title = pen.strong(pen.text(f"{finding.title} (alert {alert.number}, {nights})"))
    lines = [pen.text(finding.detail)] if finding.detail else []
    shown = _MOST_MEMBERS if new else 1
    for member in finding.members[:shown]:
        lines += _member(member, morning, pen)
    lines += [f"{line} series that moved with it" for line in _cut(len(finding.members), shown)]
    if new:
        lines += _changed(finding.changed, pen)
    if finding.members and finding.kind in {AlertKind.REGRESSION, AlertKind.UNCONFIRMED}:
        worst = finding.members[0]
        lines += [pen.text(_how_sure(worst, morning))] if new else []
        lines.append(pen.text(_since(worst, new=new)))
    if finding.members and morning.links.grafana:
        lines.append(pen.link("dashboard", panel_url(morning.links.grafana, finding.members[0].key)))
    return f"{title}\n\n{_lines(lines)}" if lines else title


def _member(member: Member, morning: Morning, pen: Pen) -> list[str]:
    """The level before and after by history; what tonight's re-run measured."""
    metric, moved = member.key.metric, member.change
    before, after = figure(metric, moved.before), figure(metric, moved.after)
    said = change(metric.direction, Estimate(moved.ratio))
    lines = [f"{pen.text(member.label)}: {pen.text(before)} {pen.arrow} {pen.text(after)}, {said}"]
    if member.ratio is not None:
        lines.append(f"re-run: {_pairs(member, morning)}{pen.text(change(metric.direction, member.ratio))}")
    return lines


def _pairs(member: Member, morning: Morning) -> str:
    """``8 of 8 pairs; ``: in how many last-good and tonight differ the way the whole does."""
    sides: dict[int, dict[str, float]] = {}
    for trial in morning.trials:
        if trial.confirmation_id == member.confirmation_id:
            value = trial.figures.get(member.key.fingerprint, {}).get(member.key.metric)
            if value is not None:
                sides.setdefault(trial.pair, {})[trial.side] = value
    pairs = [pair for pair in sides.values() if {"good", "tonight"} <= set(pair)]
    if pairs and member.ratio is not None:
        up = member.ratio.value > 1.0
        alike = sum((pair["tonight"] > pair["good"]) == up for pair in pairs)
        return f"{alike} of {count(len(pairs), 'pair')}; "
    known = morning.confirmations.get(member.confirmation_id or "")
    return f"{count(known.pairs, 'pair')}; " if known else ""


def _changed(changed: Mapping[str, str], pen: Pen) -> list[str]:
    known = [
        f"changed since: {pen.text(factor)}: {pen.text(what)}" for factor, what in list(changed.items())[:_MOST_CHANGED]
    ]
    return known + [f"{line} things changed" for line in _cut(len(changed), _MOST_CHANGED)]


def _how_sure(member: Member, morning: Morning) -> str:
    by_chance = f"where nothing changed, history shows this much by chance {odds(member.change.p_value)} times"
    if member.confirmation_id is None or member.ratio is None:
        known = morning.confirmations.get(member.confirmation_id or "")
        why = f" ({known.detail})" if known else ""
        return f"how sure: {by_chance}; no re-run decided it{why}"
    risk = 100.0 * morning.policy.confirm.false_confirm_p
    return f"how sure: confirmed by a re-run, which is wrong in at most {risk:g} % of cases; {by_chance}"


def _since(member: Member, *, new: bool) -> str:
    """A change is as of the night that found it; its nights are told no more once others came."""
    moved = member.change
    failing = f"failing for {count(moved.nights, 'night')}, since" if new else "failing since"
    return f"{failing} {moved.since}; last good: {moved.last_before}"


def _recovered(alerts: Sequence[Alert], pen: Pen) -> list[str]:
    return [
        pen.text(f"alert {alert.number}, after {count(alert.nights, 'night')}: {alert.finding.title}")
        + (f": {pen.text(alert.why)}" if alert.why else "")
        for alert in alerts
    ]


def _links(morning: Morning, pen: Pen) -> list[str]:
    links = morning.links
    lines = [f"run: {pen.text(morning.run_id)}"]
    lines += [pen.link("run in Prefect", links.run)] if links.run else []
    lines += [f"report: {pen.text(links.report)}"] if links.report else []
    lines += [f"logs: {pen.text(links.logs)}"] if links.logs else []
    return lines


_FINE: Mapping[Verdict, Callable[[int], str]] = {
    Verdict.OK: lambda series: f"{count(series, 'series', 'series')} fine",
    Verdict.IMPROVED: lambda series: f"{series:,} better than before",
    Verdict.INSUFFICIENT: lambda series: f"{series:,} with too few nights to judge",
    Verdict.INVALID: lambda series: f"{series:,} doubted",
}


def _last_line(morning: Morning) -> str:
    """What was fine, what is looked after, and how far to believe all of the above."""
    parts = [say(series) for verdict, say in _FINE.items() if (series := morning.verdicts.get(verdict, 0))]
    if morning.acknowledged:
        parts.append(f"{count(len(morning.acknowledged), 'acknowledged alert')} still there")
    known = morning.precision
    if known is not None and known.raised:
        said = f"{count(known.raised, 'alert')} in {known.days} days, {known.false} called false"
        parts.append(f"{said}{_precise(known.share)}")
    return "; ".join(parts)


def _precise(share: Estimate | None) -> str:
    if share is None:
        return ", none judged by a person"
    low, high = share.low, share.high
    interval = f" ({100 * low:.0f} to {100 * high:.0f} %)" if low is not None and high is not None else ""
    return f", precision {100 * share.value:.0f} %{interval}"
