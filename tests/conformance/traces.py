"""What a deployment leaves on this machine once it is over: files where anybody may drop them, shared memory, ports."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from launch.ports import is_free
from launch.workdir import SHARED_MEMORY
from tests.conformance.subject import Launched

COMMON = (Path(tempfile.gettempdir()), Path("/var/tmp"), SHARED_MEMORY)  # noqa: S108
PATIENCE_S = 3.0
"""Other programs use these folders, too: what is theirs is gone after a moment, or held by them."""


def _entries() -> set[Path]:
    found: set[Path] = set()
    for folder in COMMON:
        with suppress(OSError):
            found |= set(folder.iterdir())
    return found


@contextmanager
def nothing_left() -> Iterator[list[Launched]]:
    """Tell it what was launched in the block; it fails if anything of that is left after the block."""
    before = _entries()
    launched: list[Launched] = []
    yield launched
    for one in launched:
        dropped = [str(path.relative_to(one.home)) for path in one.home.rglob("*") if not path.is_dir()]
        assert not dropped, f"it wrote to the user's home: {dropped}"
    deadline = time.monotonic() + PATIENCE_S
    while (left := _orphans(_entries() - before)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"it left {sorted(map(str, left))}"


def assert_free(listening: set[tuple[str, int]]) -> None:
    """Nobody listens there any more."""
    taken = [port for _, port in listening if not is_free(port)]
    assert not taken, f"the ports {taken} are still taken"


def _orphans(entries: set[Path]) -> set[Path]:
    """Those that no living process has open, maps, works in or names."""
    if not entries:
        return set()
    held = "\n".join(_held())
    return {entry for entry in entries if entry.exists() and str(entry) not in held}


def _held() -> Iterator[str]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            yield process.cwd()
            yield from process.cmdline()
            yield from (str(value) for value in process.environ().values())
            yield from (each.path for each in process.open_files())
            yield Path(f"/proc/{process.pid}/maps").read_text(errors="replace")
