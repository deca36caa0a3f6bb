"""The spool as seen from outside: how far the runs that go on here have come.

Nobody who measures is asked, and no lock of theirs is touched: only what a run has put on disk since the last look is
read, and the kernel's own list says which files are being written.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nightbench.errors import NightbenchError
from nightbench.record import RunStarted, decode

__all__ = ["RunProgress", "SpoolWatch"]

# As `db.spool` writes lines and `nightbench.record.encode` the fields of records: in their order, the kind last.
_CELL = re.compile(rb'\{"crc":"[0-9a-f]{8}","record":\{"run_id":"[^"]*","cell_id":"([^"]*)"')
_START = re.compile(rb'\{"crc":"[0-9a-f]{8}","record":(.*"kind":"run_started"\})\}')
_MEASURED, _MISSING = b'"kind":"measurement"}}', b'"kind":"missing"}}'


@dataclass(frozen=True, slots=True)
class RunProgress:
    """One run that goes on."""

    run_id: str
    suite: str
    started_at: datetime
    planned: int
    measured: int
    missing: int


@dataclass(slots=True)
class _Tail:
    """How far one file was read, and what was in it."""

    read_bytes: int = 0
    start: RunStarted | None = None
    measured: set[bytes] = field(default_factory=set)
    missing: set[bytes] = field(default_factory=set)

    def take(self, line: bytes) -> None:
        if line.endswith(_MEASURED) and (cell := _CELL.match(line)):
            self.measured.add(cell[1])
        elif line.endswith(_MISSING) and (cell := _CELL.match(line)):
            self.missing.add(cell[1])
        elif self.start is None and (start := _START.fullmatch(line)):
            with suppress(NightbenchError):
                found = decode(start[1])
                self.start = found if isinstance(found, RunStarted) else None


class SpoolWatch:
    """Watches one spool. Threads may share it."""

    def __init__(self, folder: Path, locks: Path = Path("/proc/locks")) -> None:
        self._folder = folder
        self._locks = locks
        self._tails: dict[int, _Tail] = {}
        self._alone = threading.Lock()

    def running(self) -> list[RunProgress]:
        """The runs that this machine's processes are writing, by their ids."""
        with self._alone:
            written = self.being_written()
            self._tails = {inode: tail for inode, tail in self._tails.items() if inode in written}
            for inode, path in written.items():
                with suppress(OSError):
                    _read_on(path, self._tails.setdefault(inode, _Tail()))
            found = [_progress(tail) for tail in self._tails.values()]
        return sorted((each for each in found if each is not None), key=lambda each: each.run_id)

    def being_written(self) -> dict[int, Path]:
        """The files with an exclusive lock on them, by inode (proc_locks(5)). Asking by a lock of our own could make a
        run fail that opens its file at that very moment."""
        try:
            lines = [line.split() for line in self._locks.read_text().splitlines()]
        except OSError:
            return {}
        held = {int(line[5].rpartition(":")[2]) for line in lines if line[1:2] == ["FLOCK"] and line[3:4] == ["WRITE"]}
        return {inode: path for inode, path in self._inodes() if inode in held}

    def _inodes(self) -> Iterator[tuple[int, Path]]:
        for path in self._folder.glob("*.jsonl"):
            with suppress(OSError):
                yield path.stat().st_ino, path


def _read_on(path: Path, tail: _Tail) -> None:
    """Take the lines that were finished since the last time."""
    with path.open("rb") as file:
        file.seek(tail.read_bytes)
        for line in file:
            if not line.endswith(b"\n"):
                break
            tail.read_bytes += len(line)
            tail.take(line.rstrip(b"\n"))


def _progress(tail: _Tail) -> RunProgress | None:
    if tail.start is None:
        return None
    missing = tail.missing - tail.measured
    start = tail.start
    return RunProgress(
        start.run_id, start.suite, start.started_at, start.planned_cells, len(tail.measured), len(missing)
    )
