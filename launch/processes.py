"""Who is running: a snapshot of the process table, the labels in it, and signals that reach the right process."""

import os
import signal
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Seen", "descendants", "environment_of", "look_up", "send", "snapshot"]

_PROC = Path("/proc")
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Seen:
    """One process as it was when looked at."""

    pid: int
    parent: int
    session: int
    started: int
    """When it began, in clock ticks since boot: with ``pid`` it names one process until the next boot."""
    zombie: bool


def _parse_stat(text: str) -> Seen:
    """``/proc/PID/stat``, see proc_pid_stat(5). The name in parentheses may itself hold spaces and parentheses."""
    pid = int(text.partition(" ")[0])
    fields = text[text.rindex(")") + 2 :].split(" ")
    return Seen(pid, int(fields[1]), int(fields[3]), int(fields[19]), fields[0] in "ZX")


def look_up(pid: int) -> Seen | None:
    """The process with this id now; ``None`` if there is none."""
    if _LINUX:
        try:
            return _parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
        except OSError:
            return None
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            ticks = int(process.create_time() * 100)
            zombie = process.status() == psutil.STATUS_ZOMBIE
            return Seen(pid, process.ppid(), os.getsid(pid), ticks, zombie)
    except (psutil.Error, OSError):
        return None


def snapshot() -> dict[int, Seen]:
    """Every process that can be seen, by id."""
    if _LINUX:
        pids = [int(folder.name) for folder in _PROC.iterdir() if folder.name.isdecimal()]
    else:
        import psutil

        pids = psutil.pids()
    return {pid: seen for pid in pids if (seen := look_up(pid)) is not None}


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty where it may not be read, or is no more."""
    if not _LINUX:
        import psutil

        try:
            return psutil.Process(pid).environ()
        except (psutil.Error, OSError):
            return {}
    try:
        block = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    # Most processes carry no label of ours: do not take their environment apart.
    if b"NIGHTBENCH_" not in block:
        return {}
    pairs = (entry.partition("=") for entry in block.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs if name}


def descendants(roots: Iterable[int], table: dict[int, Seen], spare: Collection[int] = ()) -> set[int]:
    """``roots``, the sessions they lead, and the children of all these; never ``spare``, nor through them."""
    found = set(roots) - set(spare)
    grown = True
    while grown:
        near = (seen.pid for seen in table.values() if seen.parent in found or seen.session in found)
        more = set(near) - found - set(spare)
        found |= more
        grown = bool(more)
    return found


def send(seen: Seen, number: signal.Signals) -> None:
    """Signal this very process, not one that got its id since."""
    now = look_up(seen.pid)
    if now is not None and now.started == seen.started and not now.zombie:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(seen.pid, number)
