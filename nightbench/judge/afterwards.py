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

    regression: Finding | None
    """What was confirmed, together with what is open about the same subject."""
    undecided: Finding
    """The alert as it stands: the series that are undecided still, or once there are none those that were decided."""
    baselines: tuple[Baseline, ...]
    """Of what was confirmed: another night of it is no news."""
    over: str
    """Why the alert is over, in words; empty while any of its series is undecided."""


def afterwards(
    alert: Alert, confirmations: Mapping[SeriesKey, ConfirmationRecord], live: Sequence[Alert]
) -> Afterwards:
    """``alert`` is of kind ``unconfirmed``, as it stands now; a series of it that is not among ``confirmations``, by
    series, is as undecided as before. ``live`` are all alerts of the suite that live."""
    finding = alert.finding
    by_outcome: dict[Outcome, list[Member]] = {outcome: [] for outcome in Outcome}
    for member in finding.members:
        found = confirmations.get(member.key)
        if found is None or found.outcome is Outcome.UNCONFIRMABLE:
            by_outcome[Outcome.UNCONFIRMABLE].append(member)
        else:
            decided = replace(member, ratio=found.ratio, confirmation_id=found.confirmation_id)
            by_outcome[found.outcome].append(decided)
    # What differs between the sides of a re-run is in its record: the alert's own differences are its worst member's.
    known = Tonight({}, {found.confirmation_id: found for found in confirmations.values()})
    confirmed, left = by_outcome[Outcome.CONFIRMED], by_outcome[Outcome.UNCONFIRMABLE]
    regression = finding_of(AlertKind.REGRESSION, finding.subject, confirmed, known) if confirmed else None
    standing = left or [member for members in by_outcome.values() for member in members]
    rest = finding_of(AlertKind.UNCONFIRMED, finding.subject, standing, known) if standing else finding
    return Afterwards(
        None if regression is None else merged(_open_about(finding.subject, live), [regression])[0],
        replace(rest, changed=finding.changed),
        tuple((each.key, each.change.since, "regressed", None) for each in confirmed),
        "" if left else _in_words(by_outcome),
    )


def _open_about(subject: str, live: Sequence[Alert]) -> list[Finding]:
    wanted = (AlertKind.REGRESSION, subject)
    return [each.finding for each in live if (each.finding.kind, each.finding.subject) == wanted]


def _in_words(by_outcome: Mapping[Outcome, Sequence[Member]]) -> str:
    """``decided by a re-run: 2 series confirmed, 1 series refuted``."""
    parts = [
        f"{count(len(members), 'series', 'series')} {outcome.value}"
        for outcome, members in by_outcome.items()
        if members
    ]
    return f"decided by a re-run: {', '.join(parts)}"
