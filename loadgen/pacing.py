"""How an open loop waits for the next request to be due: asleep, or awake for the last moment.

A sleeper is woken late: by tens of microseconds on an idle machine, which is the lag of everything it sends. Who
spins is on time, uses up a processor, and sees when the machine itself stood still.
"""

import os
from array import array
from collections.abc import Mapping
from typing import Protocol

from loadgen.clock import Poller, now_ns
from loadgen.hiccups import delays_ns
from loadgen.job import Job, Pacing

__all__ = ["Pacer", "Sleeper", "Spinner", "chosen_pacing", "pacer_for"]

_SPIN_NS = 200_000
"""Longer than nearly every late awakening; what is left of the wait before that is slept."""
_HICCUP_NS = 10_000
"""A turn of the spin takes about one microsecond. Ten were not spent on it."""


class Pacer(Protocol):
    """Waits for sockets and for a moment, and knows what that cost."""

    def wait_until(self, deadline_ns: int) -> list[tuple[int, int]]:
        """Ready descriptors and their event masks as soon as there are any; none at ``deadline_ns``."""

    @property
    def spun_ns(self) -> int:
        """Processor time that went into waiting alone."""

    def hiccups_ns(self) -> Mapping[str, int]:
        """See `loadgen.job.JobResult.hiccups_ns`."""


class Sleeper:
    """Leaves the processor to others."""

    spun_ns = 0

    def __init__(self, poller: Poller) -> None:
        self.wait_until = poller.wait_until

    def hiccups_ns(self) -> Mapping[str, int]:
        return {}


class Spinner:
    """Sleeps through long waits and spins at their end."""

    def __init__(self, poller: Poller) -> None:
        self._sleep_until = poller.wait_until
        self._poll = poller.epoll.poll
        self._gaps_ns = array("q")
        self._stalled_ns = 0
        self.spun_ns = 0

    def wait_until(self, deadline_ns: int) -> list[tuple[int, int]]:
        poll = self._poll
        now = now_ns()
        if deadline_ns - now > _SPIN_NS:
            events = self._sleep_until(deadline_ns - _SPIN_NS)
            if events:
                return events
            now = now_ns()
        began, stalled = now, 0
        while not (events := poll(0)):
            before, now = now, now_ns()
            if now - before > _HICCUP_NS:
                # The processor was taken from us: others used that time.
                self._gaps_ns.append(now - before)
                stalled += now - before
            if now >= deadline_ns:
                break
        # The turn that found something was work, not waiting: it is not in here.
        self.spun_ns += now - began - stalled
        self._stalled_ns += stalled
        return events

    def hiccups_ns(self) -> Mapping[str, int]:
        return delays_ns(self._gaps_ns, self.spun_ns + self._stalled_ns)


def chosen_pacing(job: Job) -> Pacing:
    """What ``job`` asks for; by default to spin where its workers have processors that nobody else needs."""
    if job.pacing is not None:
        return job.pacing
    alone = job.cpus is not None and job.workers <= len(job.cpus) < (os.cpu_count() or 1)
    return Pacing.SPIN if alone else Pacing.SLEEP


def pacer_for(job: Job, poller: Poller) -> Pacer:
    return Spinner(poller) if chosen_pacing(job) is Pacing.SPIN else Sleeper(poller)
