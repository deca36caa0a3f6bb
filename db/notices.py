"""The outbox of messages: each leaves at most once, whatever dies in between.

A notice is ``sending`` in the database before its sender begins. Where the sender then dies, nobody can say whether the
message left, so nobody sends it again: it becomes ``unknown``, and is shown.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from db.alert_tables import notices
from db.rows import plain
from nightbench.judge.notice import ATTEMPTS, Notice, NoticeState, retry_at

__all__ = ["STALE", "Troubled", "claim_notices", "put_notice", "settle_notice", "troubled_notices"]


@dataclass(frozen=True, slots=True)
class Troubled:
    """A message that was not delivered, or perhaps not."""

    notice: Notice
    state: NoticeState
    error: str


STALE = timedelta(minutes=10)
"""A sender that has not come back by then died. No channel's own time limits add up to as much."""
_DIED = "its sender ended before it was told what became of the message"
# Webhooks carry their secrets in the address, some of them where others have the host.
_ADDRESS = re.compile(r"(\w://)[^\s'\"<>)]+")


def put_notice(connection: Connection, run_id: str, channel: str, subject: str, body: str) -> bool:
    """Put a night's message for a channel into the outbox; ``False``, and nothing else, if the night has one there."""
    given = {"run_id": run_id, "channel": channel, "subject": plain(subject), "body": plain(body)}
    statement = insert(notices).values(given).on_conflict_do_nothing(constraint="uq_notices_run_id")
    return connection.execute(statement.returning(notices.c.id)).first() is not None


def claim_notices(connection: Connection, now: datetime, most: int | None = None) -> list[Notice]:
    """What is due, oldest first, ``sending`` from now on: no other sender gets it, nor this one a second time.

    At most ``most`` of it: what a sender claims and dies before sending is lost, so it claims one, and sends that.
    """
    stale = (notices.c.state == NoticeState.SENDING, notices.c.sending_since < now - STALE)
    unknown = {"state": NoticeState.UNKNOWN, "settled_at": now, "error": _DIED}
    connection.execute(update(notices).where(*stale).values(unknown))
    due = (
        select(notices.c.id)
        .where(
            notices.c.state == NoticeState.WAITING,
            or_(notices.c.next_attempt_at.is_(None), notices.c.next_attempt_at <= now),
        )
        .order_by(notices.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
        # By itself, so that it is looked for once: a subquery may be looked for again, and claim more.
        .cte("due")
    )
    claimed = (
        update(notices)
        .where(notices.c.id == due.c.id)
        .values(state=NoticeState.SENDING, sending_since=now, attempts=notices.c.attempts + 1)
        .returning(*_FIELDS)
    )
    return sorted((Notice(*row) for row in connection.execute(claimed)), key=lambda notice: notice.id)


def settle_notice(connection: Connection, notice_id: int, state: NoticeState, error: str, now: datetime) -> None:
    """Keep what became of a claimed notice: ``sent``, ``waiting`` for another attempt after one that surely failed,
    ``failed`` for good, or ``unknown``.

    The last attempt does not wait for another. What was given up as ``unknown`` may still turn out to be sent or
    failed, but never waits again; what is settled otherwise stays as it is.
    """
    if state is NoticeState.SENDING:
        raise ValueError("a notice is claimed, not settled, to be sent")
    row = connection.execute(
        select(notices.c.state, notices.c.attempts).where(notices.c.id == notice_id).with_for_update()
    ).one()
    was = NoticeState(row.state)
    if state is NoticeState.WAITING and (was is NoticeState.UNKNOWN or row.attempts >= ATTEMPTS):
        state = NoticeState.FAILED
    if was not in {NoticeState.SENDING, NoticeState.UNKNOWN}:
        return
    again = state is NoticeState.WAITING
    settled = {
        "state": state,
        "error": _without_secrets(plain(error)),
        "sending_since": None,
        "settled_at": None if again else now,
        "next_attempt_at": retry_at(row.attempts, now) if again else None,
    }
    connection.execute(update(notices).where(notices.c.id == notice_id).values(settled))


def troubled_notices(connection: Connection, since: datetime) -> list[Troubled]:
    """Messages that failed and wait to be tried again, and those that were given up after ``since``: newest first."""
    given_up = and_(notices.c.state.in_([NoticeState.FAILED, NoticeState.UNKNOWN]), notices.c.settled_at > since)
    failed = and_(notices.c.state == NoticeState.WAITING, notices.c.attempts > 0)
    query = select(*_FIELDS, notices.c.state, notices.c.error).where(or_(given_up, failed))
    found = connection.execute(query.order_by(notices.c.id.desc()))
    return [Troubled(Notice(*fields), NoticeState(state), error) for *fields, state, error in found]


_FIELDS = tuple(notices.c[name] for name in ("id", "run_id", "channel", "subject", "body", "attempts"))


def _without_secrets(words: str) -> str:
    """Of every address no more than its scheme."""
    return _ADDRESS.sub(r"\1...", words)
