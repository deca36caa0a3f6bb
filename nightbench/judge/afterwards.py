"""What a re-run that was asked for after the night makes of an alert that the night's own re-runs could not decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nightbench.judge.alert import Alert, AlertKind, Finding, Member
from nightbench.judge.grouping import Tonight, finding_of, merged
from nightbench.judge.series import SeriesKey
from nightbench.judge.standing import Baseline
from nightbench.judge.verdict import Outcome
from nightbench.judge.words import count
from nightbench.record import ConfirmationRecord

__all__ = ["Afterwards", "afterwards"]


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What is known now."""

    findings: tuple[Finding, ...]
    """The regression, if one was confirmed; and what is undecided still."""
    baselines: tuple[Baseline, ...]
    """Of what was confirmed: another night of it is no news."""
    over: str
    """Why the alert itself is over, in words; empty while any of its series is undecided."""


def afterwards(
    alert: Alert, confirmations: Mapping[SeriesKey, ConfirmationRecord], live: Sequence[Alert]
) -> Afterwards:
    """``confirmations`` are the re-run's, by series; a series that is not among them is as undecided as before.

    Only an alert of kind ``unconfirmed`` changes: what was confirmed once is closed by its recovery, or by a person. A
    regression joins the one among the ``live`` alerts that has the same subject.
    """
    finding = alert.finding
    if finding.kind is not AlertKind.UNCONFIRMED:
        return Afterwards((), (), "")
    by_outcome: dict[Outcome, list[Member]] = {outcome: [] for outcome in Outcome}
    for member in finding.members:
        found = confirmations.get(member.key)
        if found is None:
            by_outcome[Outcome.UNCONFIRMABLE].append(member)
        else:
            by_outcome[found.outcome].append(
                replace(member, ratio=found.ratio, confirmation_id=found.confirmation_id)
                if found.outcome is not Outcome.UNCONFIRMABLE
                else member
            )
    known = Tonight(
        {},
        {found.confirmation_id: found for found in confirmations.values()},
        changed={member.change.last_before: finding.changed for member in finding.members},
    )

    def said(kind: AlertKind, members: Sequence[Member]) -> list[Finding]:
        return [finding_of(kind, finding.subject, members, known)] if members else []

    same = [
        each.finding
        for each in live
        if (each.suite, each.finding.kind, each.finding.subject) == (alert.suite, AlertKind.REGRESSION, finding.subject)
    ]
    regressed = said(AlertKind.REGRESSION, by_outcome[Outcome.CONFIRMED])
    left = by_outcome[Outcome.UNCONFIRMABLE]
    return Afterwards(
        (*(merged(same, regressed) if regressed else ()), *said(AlertKind.UNCONFIRMED, left)),
        tuple((each.key, each.change.since, "regressed", None) for each in by_outcome[Outcome.CONFIRMED]),
        "" if left else _in_words(by_outcome),
    )


def _in_words(by_outcome: Mapping[Outcome, Sequence[Member]]) -> str:
    """``decided by a re-run: 2 series confirmed, 1 series refuted``."""
    parts = [
        f"{count(len(members), 'series', 'series')} {outcome.value}"
        for outcome, members in by_outcome.items()
        if members
    ]
    return f"decided by a re-run: {', '.join(parts)}"
