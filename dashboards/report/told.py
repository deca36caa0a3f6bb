"""What a run's records say beside its figures: how servers were started, and what was made of the figures."""

from collections.abc import Iterable
from dataclasses import dataclass

from nightbench.judge.check import Check
from nightbench.record import ConfirmationRecord, DeploymentRecord, JudgementRecord, Record
from nightbench.summary import NightSummary

__all__ = ["Against", "Told", "told_of"]


@dataclass(frozen=True, slots=True)
class Against:
    """The run that a report's run is held against."""

    before: NightSummary
    check: Check


@dataclass(frozen=True, slots=True)
class Told:
    starts: tuple[DeploymentRecord, ...] = ()
    judgements: tuple[JudgementRecord, ...] = ()
    """Empty where the night was not judged."""
    confirmations: tuple[ConfirmationRecord, ...] = ()
    against: Against | None = None


def told_of(records: Iterable[Record], against: Against | None = None) -> Told:
    records = tuple(records)
    return Told(
        starts=tuple(each for each in records if isinstance(each, DeploymentRecord)),
        judgements=tuple(each for each in records if isinstance(each, JudgementRecord)),
        confirmations=tuple(each for each in records if isinstance(each, ConfirmationRecord)),
        against=against,
    )
