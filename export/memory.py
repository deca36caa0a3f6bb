"""How much memory a process and its helpers hold, and held at most."""

import os
import resource
from contextlib import suppress
from pathlib import Path

__all__ = ["Peak", "group_bytes"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


def group_bytes(group: int) -> int:
    """Resident memory of every process of a process group, added up; 0 where there is no ``/proc``.

    Pages that two of them share count twice. That is an upper bound, and exporters share little beyond libraries.
    """
    total = 0
    with suppress(OSError):
        for entry in os.scandir(_PROC):
            if entry.name.isdecimal():
                total += _bytes_in(group, entry.name)
    return total


def _bytes_in(group: int, pid: str) -> int:
    try:
        # The name of the program stands in parentheses and may hold anything; what follows is numbers (proc(5)).
        fields = (_PROC / pid / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[21]) * _PAGE_BYTES if int(fields[2]) == group else 0
    except (OSError, IndexError, ValueError):
        return 0  # it has just ended


class Peak:
    """The most that this process holds from now on, or a helper that it starts, if more."""

    def __init__(self) -> None:
        self._helpers = _helpers_bytes()
        with suppress(OSError):  # where the kernel does not have it (proc(5)), what was held before counts too
            (_PROC / "self/clear_refs").write_text("5")

    def bytes(self) -> int:
        """So far. A helper counts when it has ended, and if it held more than all before it."""
        helpers = _helpers_bytes()
        return max(_own_bytes(), helpers if helpers > self._helpers else 0)


def _own_bytes() -> int:
    with suppress(OSError):
        for line in (_PROC / "self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _helpers_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
