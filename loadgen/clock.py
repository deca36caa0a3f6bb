"""The engine's clock, and waiting on it for sockets with microsecond resolution and without spinning."""

import ctypes
import gc
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Poller", "monotonic_of", "now_ns", "quiet", "wall_error_ns"]

now_ns = time.monotonic_ns

_PR_SET_TIMERSLACK = 29
_TIMEX_BYTES = 208
"""``struct timex`` of the kernel, the same on every 64-bit machine (``linux/timex.h``)."""
_MAXERROR = 3
"""Its place among the longs: after modes, which padding makes one, offset and freq. In microseconds."""
_UNSYNCHRONISED = 5
"""What ``adjtimex`` returns where nothing disciplines the clock (``TIME_ERROR``)."""


def monotonic_of(unix_ns: int) -> int:
    """What `now_ns` shows when the wall clock shows ``unix_ns``, if nobody sets it meanwhile."""
    return now_ns() + unix_ns - time.time_ns()


def wall_error_ns() -> int | None:
    """The most by which this machine's wall clock is wrong, as the kernel has it from NTP or PTP (adjtimex(2)).

    ``None`` where nothing disciplines the clock, or the kernel does not say.
    """
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    timex = (ctypes.c_long * (_TIMEX_BYTES // ctypes.sizeof(ctypes.c_long)))()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if state < 0 or state == _UNSYNCHRONISED:
        return None
    return int(timex[_MAXERROR]) * 1000


class Poller:
    """An epoll that can be waited on until an absolute time.

    ``epoll.poll`` rounds its timeout up to whole milliseconds. ``select`` on the epoll's own descriptor takes
    microseconds; it costs one more system call, so it is used only where punctuality matters.
    """

    __slots__ = ("_watch", "epoll")

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._watch = (self.epoll.fileno(),)

    def wait_until(self, deadline_ns: int) -> list[tuple[int, int]]:
        """Ready descriptors and their event masks; empty once ``deadline_ns`` has passed."""
        left_ns = deadline_ns - now_ns()
        if left_ns > 0 and not select.select(self._watch, (), (), left_ns / 1e9)[0]:
            return []
        return self.epoll.poll(0)

    def wait_about(self, deadline_ns: int, now: int) -> list[tuple[int, int]]:
        """As `wait_until` with one system call, and up to a millisecond late when nothing happens."""
        return self.epoll.poll(max(0, deadline_ns - now) / 1e9)

    def close(self) -> None:
        self.epoll.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector and the kernel's timer coalescing out of what is being measured.

    By default Linux may fire a thread's timers 50 µs late to save energy; that would be our send lag.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
        if sys.platform == "linux":
            # Zero means the thread's default again.
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 0, 0, 0, 0)
