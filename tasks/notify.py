"""Stage: bring the messages that wait in the outbox to where they belong, each at most once."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from nightbench.judge.notice import ATTEMPTS, Notice, NoticeState

__all__ = ["Delivered", "Deliveries", "Outbox", "deliver", "send_due"]


class Outbox(Protocol):
    """Where messages wait: `db.store.Store`. Each method is one committed transaction."""

    def put_notice(self, run_id: str, channel: str, subject: str, body: str) -> bool:
        """Whether it is new: a night has one message a channel."""
        ...

    def claim_notices(self, now: datetime, most: int | None = None) -> Sequence[Notice]:
        """What is due, at most ``most``, ``sending`` from now on, so that no other sender takes it."""
        ...

    def settle_notice(self, notice_id: int, state: NoticeState, error: str, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of one notice."""

    notice: Notice
    state: NoticeState
    error: str = ""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What became of all that was due."""

    notices: tuple[Delivered, ...] = ()

    def lines(self) -> list[str]:
        """A sentence for each."""
        says = {
            NoticeState.SENT: "sent",
            NoticeState.WAITING: "not delivered, and tried again later",
            NoticeState.FAILED: "given up",
            NoticeState.UNKNOWN: "perhaps delivered, and not sent again",
        }
        return [
            f"{each.notice.channel}: {says[each.state]}{f': {each.error}' if each.error else ''}"
            for each in self.notices
        ]


def send_due(
    outbox: Outbox,
    send: Callable[[Notice], Delivered],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Deliveries:
    """Send what is due. Whatever goes wrong with one notice costs no other.

    A sender that is killed between claiming and settling leaves its notice ``sending``: it may have gone out, so
    nobody sends it again. So they are claimed one by one: those that it never came to wait for the next sender.
    """
    done: list[Delivered] = []
    failures: list[Exception] = []
    while claimed := outbox.claim_notices(clock(), 1):
        (notice,) = claimed
        done.append(send(notice))
        try:
            outbox.settle_notice(notice.id, done[-1].state, done[-1].error, clock())
        except Exception as error:  # noqa: BLE001 - the others may still be sent
            failures.append(error)
    if failures:
        raise failures[0]
    return Deliveries(tuple(done))


def deliver(notice: Notice, load: Callable[[str], object] | None = None) -> Delivered:
    """Send one notice through its Prefect block; ``load`` finds the block by its name."""
    from prefect.blocks.abstract import NotificationBlock

    from tasks.delivery import AppriseWitness, certainly_not, quiet_libraries

    name, witness = notice.channel.partition("#")[0], AppriseWitness()
    # Blocks log their addresses as soon as they are made.
    with quiet_libraries(witness):
        try:
            block = (load or _load)(name)
        except Exception as error:  # noqa: BLE001 - a block that is not there, or a Prefect that is not
            return _not_sent(notice, f"the block {name} cannot be loaded ({type(error).__name__})")
        if not isinstance(block, NotificationBlock):
            return _not_sent(notice, f"the block {name} is none that sends notifications")
        try:
            with block.raise_on_failure():
                _settled(lambda: block.notify(notice.body, notice.subject))
        except Exception as error:  # noqa: BLE001 - each block raises its own
            failure = certainly_not(error, witness)
            if failure.certain:
                return _not_sent(notice, str(failure))
            return Delivered(notice, NoticeState.UNKNOWN, str(failure))
    return Delivered(notice, NoticeState.SENT)


def _not_sent(notice: Notice, error: str) -> Delivered:
    last = notice.attempts >= ATTEMPTS
    return Delivered(notice, NoticeState.FAILED if last else NoticeState.WAITING, error)


def _load(name: str) -> object:
    from prefect.blocks.core import Block

    # Imported so that Prefect knows the type; blocks of its own it knows already.
    from tasks.smtp_email import SmtpEmail  # noqa: F401

    return _settled(lambda: Block.load(name))


def _settled(call: Callable[[], object]) -> object:
    """The result of ``call``, which may be a plain method or an ``async`` one: Prefect's blocks have both kinds."""

    def settle() -> object:
        result = call()
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result

    # In a thread of its own there is no event loop, whatever the caller is in the middle of; the context has Prefect's
    # settings.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, settle).result()


async def _awaited(result: Awaitable[object]) -> object:
    return await result
