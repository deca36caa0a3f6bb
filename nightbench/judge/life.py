"""The life of alerts: who may change which state into which, and how often alerts turned out to be true.

A night opens an alert and finds it again; a person acknowledges, resolves or calls it false; the recovery resolves it.
Every change says why. What is closed is never opened again: what comes back is another alert.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertState, Finding
from nightbench.stats.distributions import normal_quantile

__all__ = ["AlertEvent", "AlertPrecision", "check_person", "known_false", "wilson"]

_BY_PERSON = {
    AlertState.OPEN: {AlertState.ACKNOWLEDGED, AlertState.RESOLVED, AlertState.FALSE},
    AlertState.ACKNOWLEDGED: {AlertState.RESOLVED, AlertState.FALSE},
    # A person may still judge what recovered by itself, and think better of a judgement.
    AlertState.RESOLVED: {AlertState.RESOLVED, AlertState.FALSE},
    AlertState.FALSE: {AlertState.RESOLVED},
}


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One change of one alert's state."""

    at: datetime
    before: AlertState | None
    """``None``: it was opened."""
    after: AlertState
    who: str
    """A person's user name, ``recovery``, or ``judge``, which opens alerts."""
    by_person: bool
    why: str
    run_id: str | None = None
    """The night that opened or recovered it."""


@dataclass(frozen=True, slots=True)
class AlertPrecision:
    """How far alerts can be believed."""

    days: int
    raised: int
    judged: int
    """Closed by now, and acknowledged or closed by a person. What only the recovery closed nobody has judged."""
    false: int
    """Of those, called false."""

    @property
    def true(self) -> int:
        return self.judged - self.false

    @property
    def share(self) -> Estimate | None:
        """True alerts among those that people judged; ``None`` where they judged none."""
        return wilson(self.true, self.judged) if self.judged else None


def check_person(alert: Alert, to: AlertState, why: str) -> None:
    """Raise `UsageError` unless a person may change the alert so."""
    if not why.strip():
        raise UsageError("--why: is empty; say in a few words why, for whoever reads it next")
    if to not in _BY_PERSON[alert.state]:
        said = f": {alert.why}" if alert.why else ""
        raise UsageError(
            f"alert {alert.number}: is {alert.state} already{said}"
            if to is alert.state
            else f"alert {alert.number}: is {alert.state} and cannot become {to}{said}; what comes back is a new alert"
        )


def known_false(finding: Finding, latest: Alert, started: Mapping[str, datetime]) -> bool:
    """Whether a person has called this very finding false: the ``latest`` alert of its kind and subject was, and every
    change now found was there already on the last night of that alert.

    ``started`` is when nights began, by name. Other findings than those of series happen anew each night.
    """
    if latest.state is not AlertState.FALSE or not finding.members:
        return False
    judged = {member.key for member in latest.finding.members}
    last = started.get(latest.last_run_id)
    begun = [started.get(member.change.since) for member in finding.members]
    return (
        all(member.key in judged for member in finding.members)
        and last is not None
        and all(begin is not None and begin <= last for begin in begun)
    )


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """A share with its score interval, which is right for few trials and for shares near 0 and 1.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", J. Am. Stat. Assoc. 22 (1927).
    """
    z2 = normal_quantile(0.5 + confidence / 2.0) ** 2
    share = successes / trials
    middle = share + z2 / (2.0 * trials)
    half = math.sqrt(z2 / trials * (share * (1.0 - share) + z2 / (4.0 * trials)))
    scale = 1.0 + z2 / trials
    # At shares of 0 and 1 a bound is the share itself, but for rounding.
    return Estimate(share, min(share, max(0.0, (middle - half) / scale)), max(share, min(1.0, (middle + half) / scale)))
