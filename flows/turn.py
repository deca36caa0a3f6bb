"""Whose turn it is on a machine: a strict limit of one in Prefect, shown there as a queue.

The operating system's lock beneath it (`launch.device`) holds whether or not Prefect is there; this one makes those
who wait visible, and lets them wait without having begun anything.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency

from nightbench.stopping import Stopped
from tasks.progress import Progress

__all__ = ["limit_name", "turn"]

_ATTEMPT_S = 5.0
"""How long one request for the slot waits, and so how late a cancellation is seen."""
_LEASE_S = 120.0
"""A slot whose holder was killed is free again after this long."""


def limit_name(machine: str) -> str:
    """The global concurrency limit of a machine."""
    return f"nightbench-{machine}"


@contextmanager
def turn(machine: str, progress: Progress, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the one slot of ``machine`` for the block, waiting for whoever holds it now.

    Where Prefect cannot be asked, the block runs without a slot; a slot whose lease is lost in mid-block, as in an
    outage, ends nothing. Raises `Stopped` when ``should_stop`` turns true while waiting.
    """

    def waiting() -> None:
        progress.note(f"another run has {machine}; waiting for it to end")

    slot: AbstractContextManager[None] | None = None
    try:
        slot = _acquired(limit_name(machine), waiting, should_stop)
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001 - Prefect may fail in any way; the night does not need it
        progress.note(f"Prefect keeps no line for {machine} ({type(error).__name__}); the machine's own lock does")
    try:
        yield
    finally:
        if slot is not None:
            # A server that went away takes no slot back; the lease runs out.
            with suppress(Exception):
                slot.__exit__(None, None, None)


def _acquired(name: str, on_wait: Callable[[], None], should_stop: Callable[[], bool]) -> AbstractContextManager[None]:
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    waiting = False
    while True:
        slot = concurrency(
            name,
            timeout_seconds=_ATTEMPT_S if waiting else 1.0,
            lease_duration=_LEASE_S,
            strict=True,
            raise_on_lease_renewal_failure=False,
        )
        try:
            slot.__enter__()
        except TimeoutError:
            if not waiting:
                on_wait()
            waiting = True
            if should_stop():
                raise Stopped("stopped while waiting for another run on this machine to end") from None
        else:
            return slot
