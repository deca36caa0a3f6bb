"""The spool: one file a run, one line a record, on disk before anything else sees the record.

A line is ``{"crc":"<crc32 of the record's bytes, 8 hex digits>","record":<record>}``. A crash can tear only the last
line, and the checksum tells a torn or rotten line from a whole one, so every other line survives it. Writing a
record twice is harmless: the database knows it by its natural key.
"""

import fcntl
import os
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from zlib import crc32

from db.errors import SpoolError
from nightbench.errors import NightbenchError, UsageError
from nightbench.record import Record, decode, encode

__all__ = ["Contents", "Spool", "lies_at", "preflight", "read"]

DONE = "ingested"
"""The folder within the spool for files that are finished and stored whole."""

_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","record":(.*)\}', re.DOTALL)
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PROBE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Contents:
    """What one spool file holds, in the order written."""

    records: tuple[Record, ...]
    skipped: int
    """Lines that are damaged, and will be for ever."""
    unknown: tuple[str, ...] = ()
    """Why each line that is whole is no record to this nightbench; another version wrote it and can read it."""


class Spool:
    """The spool of one run, open for appending by this process alone. Threads may share it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._end = _seal(descriptor)
        self._torn = False

    @classmethod
    def open(cls, directory: Path, run_id: str) -> Self:
        """Open ``<directory>/<run_id>.jsonl``, making it if need be, and seal a line that a crash tore.

        Raises `UsageError` if another process is writing this run, the name cannot be a file's, or the directory
        cannot be written.
        """
        if not _RUN_ID.fullmatch(run_id):
            raise UsageError(f"run id: {run_id!r} is not one; use letters, digits, '.', '_' and '-'")
        path = directory / f"{run_id}.jsonl"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = _open_locked(path)
        except BlockingIOError:
            raise UsageError(f"spool: {path} is being written by another process; wait for that run to end") from None
        except OSError as error:
            raise UsageError(f"spool: {path} cannot be opened: {error.strerror}; check NIGHTBENCH_HOME") from error
        try:
            spool = cls(path, descriptor)
            _sync_directory(directory)
        except OSError as error:
            os.close(descriptor)
            raise SpoolError(f"spool: {path}: {error.strerror}") from error
        return spool

    def append(self, *records: Record) -> None:
        """Put records on disk; when this returns, a power cut cannot take them.

        Raises `SpoolError` if the disk would not take them; the file then ends where it ended before.
        """
        bodies = [encode(record) for record in records]
        lines = b"".join(b'{"crc":"%08x","record":%s}\n' % (crc32(body), body) for body in bodies)
        with self._lock:
            try:
                if self._torn:
                    self._end, self._torn = _seal(self._descriptor), False
                _write_all(self._descriptor, lines)
                os.fsync(self._descriptor)
            except OSError as error:
                self._cut()
                raise SpoolError(
                    f"spool: {self.path}: {error.strerror}; make room, and `nightbench run --resume` does the rest"
                ) from error
            self._end += len(lines)

    def _cut(self) -> None:
        """Take half a line back. Where even that fails, the next line starts afresh after it."""
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError:
            self._torn = True

    def close(self) -> None:
        """Give up the file and its lock. Closing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> Contents:
    """All records of one spool file, and what else is in it.

    A run that is still being written may show its newest line as torn; reading again later finds it whole.
    """
    records: list[Record] = []
    unknown: list[str] = []
    skipped = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            body = _intact(line.rstrip(b"\n"))
            if body is None:
                skipped += bool(line.strip())
                continue
            try:
                records.append(decode(body))
            except NightbenchError as error:
                unknown.append(f"line {number}: {error}")
    return Contents(tuple(records), skipped, tuple(unknown))


def find(directory: Path, run_id: str) -> Path:
    """Where this machine keeps a run's file, stored in a database already or not; it may not exist."""
    path = directory / f"{run_id}.jsonl"
    return path if path.exists() else directory / DONE / path.name


def is_written(path: Path) -> bool:
    """Whether a process has this run's file open for writing now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def preflight(directory: Path, needed_bytes: int) -> None:
    """Prove, before any work, that records can be put on this disk: write and sync a probe, then look at the room.

    Raises `UsageError` naming the path, what is free, what is needed and what to do.
    """
    remedy = "make room, or set NIGHTBENCH_HOME to a folder on another disk"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
        if free >= needed_bytes:
            with tempfile.TemporaryFile(dir=directory, prefix=".probe-") as probe:
                _write_all(probe.fileno(), bytes(min(max(needed_bytes, 1), _PROBE_BYTES)))
                os.fsync(probe.fileno())
            return
    except OSError as error:
        raise UsageError(f"spool: {directory} cannot be written: {error.strerror}; {remedy}") from error
    raise UsageError(
        f"spool: {directory} has {free / 1e6:.1f} MB free and this run needs {needed_bytes / 1e6:.1f} MB; {remedy}"
    )


def lies_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that lies at ``path`` now: a drain may have moved it since it was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _intact(line: bytes) -> bytes | None:
    """What was written as a record; ``None`` if it is torn or rotten."""
    match = _LINE.fullmatch(line)
    return match[2] if match is not None and int(match[1], 16) == crc32(match[2]) else None


def _open_locked(path: Path) -> int:
    """An exclusively locked descriptor of the file that lies at ``path`` now."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lies_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _seal(descriptor: int) -> int:
    """End a torn last line with a newline, so that the next line stays whole; returns the file's size."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        _write_all(descriptor, b"\n")
        os.fsync(descriptor)
        size += 1
    return size


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_directory(directory: Path) -> None:
    """Make a new file's name as durable as its content."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
