"""One message on its way through one channel, and when it is tried again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

__all__ = ["ATTEMPTS", "Notice", "NoticeState", "retry_at"]


class NoticeState(StrEnum):
    WAITING = "waiting"
    """To be sent, or to be tried again once its time has come."""
    SENDING = "sending"
    """Taken by a sender, committed before the first byte leaves: nobody else takes it."""
    SENT = "sent"
    FAILED = "failed"
    """Refused as often as is tried. A person may mend the channel; the message is not sent any more."""
    UNKNOWN = "unknown"
    """It left, and what became of it was not told. Not sent again: twice is worse than perhaps."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The night's message for one channel."""

    id: int
    run_id: str
    channel: str
    """A Prefect block: ``slack-webhook/ops``."""
    subject: str
    body: str
    attempts: int
    """Begun so far, this one included once it is claimed."""


_PAUSES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=6))
_LAST_PAUSE = timedelta(hours=24)

ATTEMPTS = 10
"""With the pauses between them they reach over four days: a long weekend."""


def retry_at(attempts: int, now: datetime) -> datetime:
    """When a notice that failed for the ``attempts``-th time is to be tried again.

    Nothing waits for that moment: whichever command comes next after it sends what is due.
    """
    return now + (_PAUSES[attempts - 1] if attempts <= len(_PAUSES) else _LAST_PAUSE)
