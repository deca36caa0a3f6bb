"""Folders that a killed Triton leaves in ``/tmp``, whatever TMPDIR says: ``python_env_`` and six letters, empty.

Its Python backend makes one at start and removes it at the end, so only SIGKILL or a crash leaves one. The name tells
no owner: it is nobody's where no Triton lives.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["sweep"]

_PROGRAM = "tritonserver"
_YOUNG_S = 60.0
"""A Triton that starts just now may have made it."""


def sweep(folder: Path = Path("/tmp"), processes: Path = Path("/proc")) -> list[Path]:  # noqa: S108
    """Remove those of ours that no Triton can need any more; their paths. Never raises."""
    if any(_reads(comm) == _PROGRAM for comm in processes.glob("[0-9]*/comm")):
        return []
    removed: list[Path] = []
    for left in folder.glob("python_env_??????"):
        with suppress(OSError):
            state = left.lstat()
            if state.st_uid == os.geteuid() and time.time() - state.st_mtime > _YOUNG_S:
                left.rmdir()  # refuses what is not empty, and what is no folder
                removed.append(left)
    return removed


def _reads(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
