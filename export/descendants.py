"""The processes that a process started, and those started, however far they went: to a session of their own, say."""

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

import psutil

__all__ = ["adopt_orphans", "apart_bytes", "descendants", "end"]

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""


def adopt_orphans() -> None:
    """Be the parent of each descendant whose own has ended, so that `descendants` finds it. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int) -> set[psutil.Process]:
    """Of a process that is still there; none of one that is not."""
    with suppress(psutil.Error):
        return set(psutil.Process(pid).children(recursive=True))
    return set()


def apart_bytes(processes: Iterable[psutil.Process], group: int) -> int:
    """Resident memory of those that are not in the process group."""
    total = 0
    for process in processes:
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) != group:
                total += process.memory_info().rss
    return total


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill them, and what they started. An id that another process has by now is left alone."""
    for process in processes:
        for each in (*descendants(process.pid), process) if process.is_running() else ():
            with suppress(psutil.Error):
                each.kill()
