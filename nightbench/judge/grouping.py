"""What moved together is one alert: forty series of one server are one thing to look at."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, Finding, Member
from nightbench.judge.environment import Machine
from nightbench.judge.night import NightSeries
from nightbench.judge.series import Direction, SeriesKey
from nightbench.judge.words import change as change_words
from nightbench.judge.words import count, metric_name
from nightbench.record import ConfirmationRecord

__all__ = ["MACHINE", "Tonight", "finding_of", "group", "machine_finding", "merged"]

MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Tonight:
    """What grouping knows of the night."""

    series: Mapping[SeriesKey, NightSeries]
    confirmations: Mapping[str, ConfirmationRecord] = field(default_factory=dict)
    """By their ids."""
    live: Sequence[Alert] = ()
    changed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By last good night: what the context of this one has different, by factor."""


def group(kind: AlertKind, members: Collection[Member], tonight: Tonight) -> list[Finding]:
    """One finding for each thing that moved, the worst first.

    A member that a live alert of this kind knows stays with it, for alerts are named by their subject. Of the others,
    those of one server are one finding where most of the models that were judged on it moved, two at least; those of
    one model where it moved on most of its servers, two at least; and what is left is apart by server and model. Of two
    ways to group, the one that holds more series goes first: it explains more with one cause.
    """
    subjects: defaultdict[str, list[Member]] = defaultdict(list)
    known = {
        member.key: alert.finding.subject
        for alert in tonight.live
        if alert.finding.kind is kind
        for member in alert.finding.members
    }
    left = []
    for member in members:
        if member.key in known:
            subjects[known[member.key]].append(member)
        else:
            left.append(member)
    while left:
        subject, taken = _largest(left, tonight.series)
        subjects[subject] += taken
        keys = {member.key for member in taken}
        left = [member for member in left if member.key not in keys]
    findings = [finding_of(kind, subject, found, tonight) for subject, found in subjects.items()]
    return sorted(findings, key=lambda finding: -finding.severity)


def merged(continued: Sequence[Finding], new: Sequence[Finding]) -> list[Finding]:
    """What is found again and what is new, one finding a subject: the new members join an alert that lives."""
    by_subject = {finding.subject: finding for finding in continued}
    for finding in new:
        old = by_subject.get(finding.subject)
        by_subject[finding.subject] = finding if old is None else _joined(old, finding)
    return sorted(by_subject.values(), key=lambda finding: -finding.severity)


def machine_finding(machine: Machine, members: Collection[Member], tonight: Tonight) -> Finding:
    """The one finding of a machine that changed, whatever moved with it."""
    ordered = _worst_first(members)
    title = f"the machine changed: {machine.words}" if machine.changed else "the machine changed, as re-runs show"
    servers = {tonight.series[member.key].server for member in ordered if member.key in tonight.series}
    detail = (
        f"{count(len(ordered), 'series', 'series')} of {count(len(servers), 'server')} got worse with it: no server is "
        "blamed, and what stays so becomes the baseline"
        if ordered
        else "no series got worse with it"
    )
    return Finding(
        AlertKind.ENVIRONMENT,
        MACHINE,
        title,
        detail,
        ordered,
        _changed(ordered, tonight, server=False),
        max((_size(member) for member in ordered), default=0.0),
    )


def _largest(members: Sequence[Member], series: Mapping[SeriesKey, NightSeries]) -> tuple[str, list[Member]]:
    by_server: defaultdict[str, list[Member]] = defaultdict(list)
    by_model: defaultdict[str, list[Member]] = defaultdict(list)
    apart: defaultdict[str, list[Member]] = defaultdict(list)
    for member in members:
        each = series[member.key]
        by_server[each.server].append(member)
        by_model[each.model].append(member)
        apart[f"server {each.server}, model {each.model}"].append(member)
    pairs = {(each.server, each.model) for each in series.values() if not each.doubts}
    moved = {(series[member.key].server, series[member.key].model) for member in members}
    choices: list[tuple[str, list[Member]]] = []
    for server, taken in by_server.items():
        if _most(len({pair for pair in moved if pair[0] == server}), sum(pair[0] == server for pair in pairs)):
            choices.append((f"server {server}", taken))
    for model, taken in by_model.items():
        if _most(len({pair for pair in moved if pair[1] == model}), sum(pair[1] == model for pair in pairs)):
            choices.append((f"model {model}", taken))
    # Of equals the first: a server rather than a model.
    return max(choices or list(apart.items()), key=lambda choice: len(choice[1]))


def _joined(old: Finding, new: Finding) -> Finding:
    known = {member.key: member for member in old.members}
    keys = {member.key for member in new.members}
    again = [_from_where_it_was(member, known.get(member.key)) for member in new.members]
    members = [*again, *(member for member in old.members if member.key not in keys)]
    return replace(
        new,
        members=_worst_first(members),
        changed={**old.changed, **new.changed},
        severity=max(old.severity, new.severity),
    )


def _from_where_it_was(member: Member, before: Member | None) -> Member:
    """What got worse twice has recovered where it came from first."""
    if before is None:
        return member
    was = before.change
    return replace(member, change=replace(member.change, before=was.before, last_before=was.last_before))


def _most(moved: int, judged: int) -> bool:
    return moved >= 2 and 2 * moved > judged


def finding_of(kind: AlertKind, subject: str, members: Collection[Member], tonight: Tonight) -> Finding:
    """What is said of members that moved together, the worst first."""
    ordered = _worst_first(members)
    worst = ordered[0]
    words = change_words(worst.key.metric.direction, worst.ratio or Estimate(worst.change.ratio))
    more = f" and {count(len(ordered) - 1, 'other series', 'other series')}" if len(ordered) > 1 else ""
    return Finding(
        kind,
        subject,
        f"{subject}: {metric_name(worst.key.metric)} {words}{more}",
        _detail(worst, ordered, tonight),
        ordered,
        _changed(ordered, tonight),
        _size(worst),
    )


def _detail(worst: Member, members: Sequence[Member], tonight: Tonight) -> str:
    """Where and since when; and what decided it."""
    confirmation = tonight.confirmations.get(worst.confirmation_id or "")
    said = f"worst: {worst.label}, since {worst.change.since}, last good on {worst.change.last_before}"
    if confirmation is not None:
        said += f"; {confirmation.detail}"
    since = {member.change.since for member in members}
    if len(since) > 1:
        said += f"; the others began on {', '.join(sorted(since - {worst.change.since}))}"
    return said


def _changed(members: Sequence[Member], tonight: Tonight, *, server: bool = True) -> dict[str, str]:
    """What is different from the last good night of the worst member: the context; what only the machine could change;
    and, where a ``server`` is asked about, what its re-run could change back."""
    if not members:
        return {}
    worst = members[0]
    confirmation = tonight.confirmations.get(worst.confirmation_id or "")
    changed = dict(tonight.changed.get(worst.change.last_before, {}))
    if confirmation is not None:
        changed |= {**(confirmation.changed if server else {}), **confirmation.unrestored}
    return changed


def _worst_first(members: Collection[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: (-_size(member), member.label)))


def _size(member: Member) -> float:
    """How much worse, as a share: what took twice as long and what is done half as often are equally bad."""
    ratio = member.ratio.value if member.ratio is not None else member.change.ratio
    return abs(ratio - 1.0) if member.key.metric.direction is Direction.LOWER else abs(1.0 / ratio - 1.0)
