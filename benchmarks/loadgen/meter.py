"""What a request costs a client, seen from outside: the same for every client, whatever it says of itself.

The processor time is the client's process clock (user and system time of all its threads, to the nanosecond), which
Linux lets others read; the requests are those the server answered. Both are read when the client has had some hundred
answers and again some seconds later, while it goes on sending: so neither its start, nor its imports, nor its report
at the end are in the figure, and no client is measured by its own clock.
"""

import time
from dataclasses import dataclass

from benchmarks.server import Server

__all__ = ["MARGIN_S", "Figures", "metered"]

MARGIN_S = 0.5
"""How much longer than it is looked at a client has to send."""
_WARM_UP = 1_000
_STARTS_WITHIN_S = 30.0
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Figures:
    """Processor time of the client's process for each request, and how many it got through."""

    cpu_us: float
    rps: float


def metered(pid: int, server: Server, seconds: float, before: int) -> Figures:
    """``before`` is what the server had answered when the client was started; `RuntimeError` if it ends too soon."""
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while server.answered() < before + _WARM_UP:
        _process_cpu_s(pid)
        if time.monotonic() > deadline:
            raise RuntimeError(f"fewer than {_WARM_UP} requests in {_STARTS_WITHIN_S:g} s")
        time.sleep(_POLL_S)
    first = _reading(pid, server)
    time.sleep(seconds)
    last = _reading(pid, server)
    wall_s, cpu_s, requests = (b - a for a, b in zip(first, last, strict=True))
    if not requests:
        raise RuntimeError("no request was answered while it was looked at")
    return Figures(cpu_s * 1e6 / requests, requests / wall_s)


def _reading(pid: int, server: Server) -> tuple[float, float, int]:
    return time.monotonic(), _process_cpu_s(pid), server.answered()


def _process_cpu_s(pid: int) -> float:
    """The clock of clock_getcpuclockid(3), whose number Linux makes of the process's (CPUCLOCK_SCHED, 2)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError as error:
        raise RuntimeError("it ended before it was looked at long enough") from error
