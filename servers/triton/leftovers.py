"""Folders that a killed Triton leaves in ``/tmp``, whatever TMPDIR says: ``python_env_`` and six letters, empty.

Its Python backend makes one at start and removes it at the end, so only SIGKILL or a crash leaves one. The name tells
no owner: it is nobody's where no Triton lives, as a program or loaded into one. Only processes of our own PID namespace
are seen: the empty folder of a container's Triton that shares our ``/tmp`` and our user's id is taken for nobody's.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["sweep"]

_PROGRAM, _LIBRARY = b"tritonserver\n", b"libtritonserver"
_YOUNG_S = 60.0
"""A Triton that starts just now may have made it."""


def sweep(folder: Path = Path("/tmp"), processes: Path = Path("/proc")) -> list[Path]:  # noqa: S108
    """Remove those of ours that no Triton can need any more; their paths. Never raises."""
    found = list(folder.glob("python_env_??????"))
    if not found or any(_is_triton(process) for process in processes.glob("[0-9]*")):
        return []
    removed: list[Path] = []
    for left in found:
        with suppress(OSError):
            state = left.lstat()
            if state.st_uid == os.geteuid() and time.time() - state.st_mtime > _YOUNG_S:
                left.rmdir()  # refuses what is not empty, and what is no folder
                removed.append(left)
    return removed


def _is_triton(process: Path) -> bool:
    """Its own program, or one that has loaded it: Python's ``tritonserver`` module does."""
    return _read(process / "comm") == _PROGRAM or _LIBRARY in _read(process / "maps")


def _read(path: Path) -> bytes:
    """Empty of a process that ended, or of one whose memory is not for us to see: its folders are not ours either."""
    with suppress(OSError):
        return path.read_bytes()
    return b""
