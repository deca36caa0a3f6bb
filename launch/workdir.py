"""What a deployment leaves on disk and in shared memory: made under one name, removed by that name.

The name of the working directory carries its owner. A server that makes shared-memory segments must begin their
names with the name of its ``workdir``; nothing else in ``/dev/shm`` is ever touched.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launch.labels import Owner
from launch.untrusted import read_small

__all__ = ["SHARED_MEMORY", "default_root", "engine_mark", "marked_engines", "remove_segments", "workdir"]

_ENGINE = ".engine"
"""After the name of a container's working directory, what says where the engine is that runs it. Beside the directory,
which the container writes: nobody else may tell a later command which engine to ask."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (where Linux keeps POSIX shared memory; only our own names there)


def default_root() -> Path:
    """Where working directories go unless told otherwise."""
    return Path(tempfile.gettempdir())


def _held(segment: Path) -> bool:
    """Whether any process we can look into has it open or mapped."""
    name = os.fsencode(segment)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if name in (process / "maps").read_bytes():
                return True
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if descriptor.readlink() == segment:
                        return True
    return False


def remove_segments(ours: Callable[[str], bool], folder: Path = SHARED_MEMORY) -> list[str]:
    """Unlink the shared-memory segments whose names are ``ours`` and that no process holds; their names."""
    removed: list[str] = []
    with suppress(OSError):
        for segment in folder.iterdir():
            if ours(segment.name) and segment.is_file() and not _held(segment):
                with suppress(OSError):
                    segment.unlink()
                    removed.append(segment.name)
    return removed


@contextmanager
def workdir(root: Path) -> Iterator[Path]:
    """A new folder only we can read; it and the shared memory of its name are gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix=Owner.current().prefix, dir=root))
    try:
        yield folder
    finally:
        remove_segments(lambda name: folder.name in name)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def engine_mark(folder: Path, url: str) -> Iterator[None]:
    """For the reaper, should we be killed in this block: the engine at ``url`` runs the container of ``folder``."""
    mark = folder.with_name(f"{folder.name}{_ENGINE}")
    descriptor = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(url)
        yield
    finally:
        mark.unlink(missing_ok=True)


def marked_engines(root: Path, ours: Callable[[str], bool]) -> list[str]:
    """The addresses in the marks below ``root`` whose names are ``ours``, if this user wrote them; each once."""
    marks = [mark for mark in root.glob(f"nightbench-*{_ENGINE}") if ours(mark.name)]
    return sorted({url for mark in marks if (url := read_small(mark, own=True))})
