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

__all__ = ["ENGINE", "SHARED_MEMORY", "default_root", "remove_segments", "workdir"]

ENGINE = ".engine"
"""In the working directory of a container: the address of the engine that runs it."""
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
