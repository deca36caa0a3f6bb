"""What is worth getting up for: findings of a night, and the alerts they open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from nightbench.figures import Estimate
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Change

__all__ = ["Alert", "AlertKind", "AlertState", "Finding", "Member"]


class AlertKind(StrEnum):
    REGRESSION = "regression"
    """Confirmed by a re-run."""
    UNCONFIRMED = "unconfirmed"
    """History says so, and no re-run could decide it."""
    ENVIRONMENT = "environment"
    """The machine changed."""
    PARITY = "parity"
    """Numbers drifted or no longer match PyTorch's."""
    FAILED_SERVER = "failed_server"
    MISSING_NIGHT = "missing_night"
    BASELINE_EXPIRED = "baseline_expired"


class AlertState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    """By recovery, or by hand."""
    FALSE = "false"
    """A person says that it should never have been raised."""

    @property
    def live(self) -> bool:
        return self in {AlertState.OPEN, AlertState.ACKNOWLEDGED}


@dataclass(frozen=True, slots=True)
class Member:
    """One series that an alert is about."""

    key: SeriesKey
    label: str
    """The series in words: server, model, batch, load, metric."""
    change: Change
    ratio: Estimate | None = None
    """Of a re-run: tonight over last-good."""
    confirmation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one night says deserves an alert."""

    kind: AlertKind
    subject: str
    """Stable from night to night: while an alert of this kind and subject is live, the finding belongs to it."""
    title: str
    """One line."""
    detail: str
    members: tuple[Member, ...] = ()
    """What moved together, the worst first."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """What is different from the last good night, by factor, each in words."""
    severity: float = 0.0
    """The largest relative change among the members; orders findings of a kind."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A finding with a life: opened one night, perhaps acknowledged, resolved or called false."""

    number: int
    suite: str
    finding: Finding
    """As of the last night that had it."""
    state: AlertState
    opened_run_id: str
    opened_at: datetime
    last_run_id: str
    nights: int
    """On which it was found."""
    closed_at: datetime | None = None
    why: str = ""
    """What a person, or the recovery, said last."""
