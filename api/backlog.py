"""What lies in the spool and is not in the database."""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from os import SEEK_END
from pathlib import Path

from api.progress import SpoolWatch
from nightbench.errors import NightbenchError
from nightbench.record import RunFinished, decode

__all__ = ["Backlog", "Waiting"]

# As `db.spool` writes lines and `nightbench.record.encode` the fields of records.
_END = re.compile(rb'\{"crc":"[0-9a-f]{8}","record":(.*"kind":"run_finished"\})\}')
_TAIL_BYTES = 1 << 20
"""The end is among the last records; a cell with its telemetry takes some ten kilobytes."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Of runs that go on, or have not reached the database."""

    files: int
    size_bytes: int
    oldest_at: datetime | None
    """When the file that was left alone for longest was last written."""


@dataclass(frozen=True, slots=True)
class _File:
    """One spool file as it is now: written on, it is another."""

    run_id: str
    inode: int
    size_bytes: int
    written_ns: int


class Waiting:
    """Looks at one spool. Threads may share it: what one of them forgets is looked up again.

    Files of runs that were cancelled or failed stay for ever, for `nightbench run --resume`, and are stored once their
    end is; of a killed run, which has none, its beginning says so. Files of completed runs are put away when they are
    stored whole (`db.drain`): one that lies there is not.

    ``ends`` is `db.api_reads.ReadStore.ends`, asked only for what was not known to be stored before; while it raises,
    the rest counts as waiting.
    """

    def __init__(
        self, folder: Path, watch: SpoolWatch, ends: Callable[[Collection[str]], Mapping[str, datetime | None]]
    ) -> None:
        self._folder = folder
        self._watch = watch
        self._ends = ends
        self._stored: frozenset[_File] = frozenset()
        self._spooled: Mapping[_File, RunFinished | None] = {}

    def backlog(self) -> Backlog:
        files = dict(self._files())
        going_on = self._watch.being_written()
        stored = self._stored & files.keys()
        open_ones = {file: path for file, path in files.items() if file not in stored and file.inode not in going_on}
        known = self._spooled
        ended = {file: known[file] if file in known else _end(path) for file, path in open_ones.items()}
        stored |= self._ask({file: end for file, end in ended.items() if end is None or end.status != "completed"})
        self._stored, self._spooled = stored, ended
        waiting = [file for file in files if file not in stored]
        oldest = min((file.written_ns for file in waiting), default=None)
        return Backlog(
            len(waiting),
            sum(file.size_bytes for file in waiting),
            None if oldest is None else datetime.fromtimestamp(oldest / 1e9, UTC),
        )

    def _files(self) -> "list[tuple[_File, Path]]":
        found = []
        for path in self._folder.glob("*.jsonl"):
            with suppress(OSError):
                status = path.stat()
                found.append((_File(path.stem, status.st_ino, status.st_size, status.st_mtime_ns), path))
        return found

    def _ask(self, ended: Mapping[_File, RunFinished | None]) -> frozenset[_File]:
        """Those of which the database has all."""
        if not ended:
            return frozenset()
        try:
            ends = self._ends([file.run_id for file in ended])
        except NightbenchError:
            return frozenset()
        return frozenset(
            file for file, end in ended.items() if file.run_id in ends and _reaches(ends[file.run_id], end)
        )


def _reaches(stored: datetime | None, end: RunFinished | None) -> bool:
    """A run that was resumed ends more than once."""
    return end is None or (stored is not None and stored >= end.finished_at)


def _end(path: Path) -> RunFinished | None:
    """The last end that was spooled."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, SEEK_END) - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        if end := _END.fullmatch(line):
            with suppress(NightbenchError):
                found = decode(end[1])
                return found if isinstance(found, RunFinished) else None
    return None
