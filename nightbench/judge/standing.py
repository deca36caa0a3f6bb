"""What becomes of the alerts that live already: each goes on, or has recovered, or waits for a night that can tell.

A confirmed regression re-bases its series, so that history finds it no more; that says nothing of recovery. It has
recovered when the last two valid nights are nearer to the old level than to the new one (on a logarithmic scale, since
changes are factors): one night, where a night's noise is a third of the change, is there by chance in about one of 15,
two in one of 200. A series that recovered is re-based once more, with the old level as its anchor, so that what creeps
back is seen against it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, Finding, Member
from nightbench.judge.night import NightSeries
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Verdict
from nightbench.record import JudgementRecord

__all__ = ["Baseline", "Closed", "Standing", "not_found_again", "standing", "undecided"]

Baseline = tuple[SeriesKey, str, str, Estimate | None]
"""A series, the first night of its new history, why, and the level to hold a drift against."""
Closed = Mapping[tuple[AlertKind, str], str]
"""Alerts by kind and subject that are over, each with the reason in words."""

_NIGHTS = 2
_ANSWERS = frozenset({Verdict.OK, Verdict.IMPROVED, Verdict.REGRESSED, Verdict.ENVIRONMENT})
_NOT_AGAIN = "not found again tonight"
_OVER = {
    AlertKind.ENVIRONMENT: "nothing moves with the machine any more: it is as before, or its new level is the baseline",
    AlertKind.UNCONFIRMED: "decided tonight, or back at the level from before",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Of all live regressions."""

    continued: tuple[Finding, ...]
    """What is found again tonight."""
    closed: Closed
    held: frozenset[SeriesKey]
    """Series that are still where an alert says they went."""
    baselines: tuple[Baseline, ...]


def standing(alerts: Sequence[Alert], series: Sequence[NightSeries]) -> Standing:
    """``alerts`` live, and ``series`` are tonight's. A series that was not measured, or is doubted, says nothing."""
    by_key = {each.key: each for each in series}
    heirs = {each.predecessor.key: each for each in series if each.predecessor is not None}
    continued: list[Finding] = []
    closed: dict[tuple[AlertKind, str], str] = {}
    held: set[SeriesKey] = set()
    baselines: list[Baseline] = []
    for alert in alerts:
        if alert.finding.kind is not AlertKind.REGRESSION:
            continue
        left: list[Member] = []
        still = 0
        for member in alert.finding.members:
            each = by_key.get(member.key) or heirs.get(member.key)
            since = None if each is None or each.doubts else _recovered_since(member, each)
            if each is not None and since is not None:
                baselines.append((each.key, since, "recovered", member.change.before))
                continue
            left.append(member if each is None else replace(member, key=each.key, label=each.label))
            if each is not None and not each.doubts:
                still += 1
                held.add(each.key)
        subject = (AlertKind.REGRESSION, alert.finding.subject)
        if not left:
            closed[subject] = "recovered: back at the level from before"
        elif still:
            severity = max(abs(member.change.ratio - 1.0) for member in left)
            continued.append(replace(alert.finding, members=tuple(left), severity=severity))
    return Standing(tuple(continued), closed, frozenset(held), tuple(baselines))


def not_found_again(
    alerts: Sequence[Alert], findings: Sequence[Finding], looked_at: Collection[tuple[AlertKind, str]]
) -> Closed:
    """The live alerts of other kinds that tonight could have found again, being of ``looked_at``, and did not."""
    found = {(finding.kind, finding.subject) for finding in findings}
    subjects = [(alert.finding.kind, alert.finding.subject) for alert in alerts]
    return {each: _OVER.get(each[0], _NOT_AGAIN) for each in subjects if each in looked_at and each not in found}


def undecided(
    alerts: Sequence[Alert], judgements: Mapping[SeriesKey, JudgementRecord], series: Sequence[NightSeries]
) -> dict[tuple[AlertKind, str], tuple[Member, ...]]:
    """Of the live alerts that no re-run could decide, by kind and subject: the members without an answer.

    That history finds a change no more is none: one of up to twice the effect it finds for some two weeks, and then
    takes its level for the usual one. An answer is a re-run, the machine, or two nights back at the old level.
    """
    by_key = {each.key: each for each in series}
    return {
        (AlertKind.UNCONFIRMED, alert.finding.subject): tuple(
            member
            for member in alert.finding.members
            if not _answered(member, judgements.get(member.key), by_key.get(member.key))
        )
        for alert in alerts
        if alert.finding.kind is AlertKind.UNCONFIRMED
    }


def _answered(member: Member, judged: JudgementRecord | None, each: NightSeries | None) -> bool:
    if judged is None or each is None or judged.verdict not in _ANSWERS:
        return False
    by_level = judged.verdict in {Verdict.OK, Verdict.IMPROVED} and judged.confirmation_id is None
    return not by_level or _recovered_since(member, each) is not None


def _recovered_since(member: Member, each: NightSeries) -> str | None:
    """The first of the nights that show the recovery; one is enough of a series that took another's place tonight."""
    nights = 1 if each.key != member.key else _NIGHTS
    last = each.valid[-nights:]
    middle = math.sqrt(member.change.before.value * member.change.after.value)
    was_above = member.change.before.value > member.change.after.value
    back = len(last) == nights and all((point.value > middle) == was_above for point in last)
    return last[0].night if back else None
