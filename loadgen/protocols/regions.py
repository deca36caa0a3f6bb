"""Memory that a server on this machine can read and write too, and how the server is told of it.

A region is POSIX shared memory: a file in ``/dev/shm``. Python's `multiprocessing.shared_memory` is not used, because
its resource tracker, a process of its own, unlinks segments that others still use (CPython issue 82300).

Each engine names its segments after itself, ``nightbench-<pid>-shm-...``, and holds a lock on them. What a killed
engine left is told by a process id that is gone *and* a lock that is free: the id alone would err where containers
share ``/dev/shm``.
"""

import fcntl
import json
import mmap
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from loadgen.protocols.protobuf import bytes_field, varint_field

__all__ = ["Region", "SystemRegion", "remove_orphans"]

_FOLDER = Path("/dev/shm")  # noqa: S108  (where Linux keeps POSIX shared memory; only our own names there)
_NAME = re.compile(r"nightbench-(\d+)-shm-[0-9a-f]+")


class Region(Protocol):
    """One piece of shared memory, ours until `close`."""

    family: str
    """``system`` or ``cuda``: which of Triton's two extensions registers it."""
    name: str
    """What requests call it."""
    size_bytes: int

    def write(self, at: int, content: bytes) -> None:
        """Put ``content`` there."""

    def read(self, at: int, size: int) -> bytes | memoryview:
        """What is there; a view stays true until the next write only."""

    def commit(self, at: int, size: int) -> None:
        """Make sure of the memory there; `OSError` where the machine has none left."""

    def as_json(self) -> bytes:
        """What registering it over HTTP says (Triton's ``extension_shared_memory.md``)."""

    def as_protobuf(self) -> bytes:
        """The same as a ``...SharedMemoryRegisterRequest``."""

    def close(self) -> None:
        """Give it back, here and in the system."""


class SystemRegion:
    """POSIX shared memory. Implements `Region`."""

    family = "system"

    def __init__(self, size_bytes: int, folder: Path = _FOLDER) -> None:
        """A new segment, which takes no memory before something is written or committed; `OSError` without room."""
        self.name = f"nightbench-{os.getpid()}-shm-{secrets.token_hex(6)}"
        self.size_bytes = size_bytes
        self._path = folder / self.name
        # Nobody but a server of our own user, or of root, has to look into it.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, size_bytes)
            self._map = mmap.mmap(self._fd, size_bytes)
        except BaseException:
            self._path.unlink()
            os.close(self._fd)
            raise
        self._view = memoryview(self._map)

    def write(self, at: int, content: bytes) -> None:
        # Without it a full /dev/shm would be a SIGBUS, here or in the server, instead of an error.
        self.commit(at, len(content))
        self._view[at : at + len(content)] = content

    def read(self, at: int, size: int) -> memoryview:
        return self._view[at : at + size]

    def commit(self, at: int, size: int) -> None:
        if size:
            os.posix_fallocate(self._fd, at, size)

    def as_json(self) -> bytes:
        return json.dumps({"key": f"/{self.name}", "offset": 0, "byte_size": self.size_bytes}).encode()

    def as_protobuf(self) -> bytes:
        key = bytes_field(2, f"/{self.name}".encode())
        return bytes_field(1, self.name.encode()) + key + varint_field(4, self.size_bytes)

    def close(self) -> None:
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._view.release()
        # A view that somebody still reads keeps the mapping until it goes.
        with suppress(BufferError):
            self._map.close()
        os.close(self._fd)


def remove_orphans(folder: Path = _FOLDER) -> list[str]:
    """Unlink the segments of engines that were killed; their names."""
    removed: list[str] = []
    for path in folder.glob("nightbench-*-shm-*"):
        owner = _NAME.fullmatch(path.name)
        if owner is None or Path(f"/proc/{owner[1]}").exists():
            continue
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                path.unlink()
                removed.append(path.name)
            finally:
                os.close(fd)
    return removed
