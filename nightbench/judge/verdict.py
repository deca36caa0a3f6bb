"""What is said of a series, and what became of a suspicion."""

from dataclasses import dataclass
from enum import StrEnum

from nightbench.figures import Estimate
from nightbench.judge.series import Direction

__all__ = ["Change", "Outcome", "Verdict"]


class Verdict(StrEnum):
    """Of one series in one night."""

    OK = "ok"
    SUSPECTED = "suspected"
    """History says that it got worse, and no re-run has decided yet."""
    REGRESSED = "regressed"
    """It got worse, and a re-run confirmed it."""
    IMPROVED = "improved"
    INSUFFICIENT = "insufficient"
    """Too few valid nights to say anything."""
    INVALID = "invalid"
    """Tonight's figure is doubted."""
    ENVIRONMENT = "environment"
    """The machine changed, not the server."""


class Outcome(StrEnum):
    """Of one re-run."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    ENVIRONMENT = "environment"
    """What was good is now as slow as what is new."""
    UNCONFIRMABLE = "unconfirmable"


@dataclass(frozen=True, slots=True)
class Change:
    """A shift of a series' level, as its history shows it."""

    since: str
    """The first night at the new level, as `Point.night` names it: where the change is located."""
    last_before: str
    """The last valid night at the old level: where last-good is to be found."""
    nights: int
    """Valid nights at the new level, tonight included."""
    before: Estimate
    after: Estimate
    """Levels with 95 % intervals that honour autocorrelation."""
    p_value: float
    """How likely so much is by chance where nothing changed, the choice of the first night allowed for."""
    firm: bool
    """Whether history alone is enough for a suspicion. Where it is not, it may be enough for a re-run."""

    @property
    def ratio(self) -> float:
        """New level over old."""
        return self.after.value / self.before.value

    def worse(self, direction: Direction) -> bool:
        return (self.ratio < 1.0) == (direction is Direction.HIGHER)
