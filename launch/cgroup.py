"""A memory ceiling for one process tree, by a cgroup v2 of its own where this user may make one.

See "Control Group v2" in the Linux kernel's administration guide. We never change which controllers a cgroup hands
down: the new one is made beside or below ours, where memory is already handed down, or not at all.
"""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["MemoryGroup", "home_of_groups", "memory_group"]

_ROOT = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def home_of_groups(root: Path = _ROOT, membership: Path = _SELF) -> tuple[Path | None, str]:
    """The cgroup in which we may make one with a memory limit, or ``None`` and the reason."""
    if "memory" not in _read(root / "cgroup.controllers").split():
        return None, "no cgroup v2 with a memory controller here"
    own = next((line[3:].strip() for line in _read(membership).splitlines() if line.startswith("0::")), "/")
    group = root / own.lstrip("/")
    while "memory" not in _read(group / "cgroup.subtree_control").split():
        if _read(group / "memory.max").strip() not in {"", "max"}:
            return None, "the cgroup we run in has a limit of its own, which a group beside it would escape"
        if group == root or root not in group.parents:
            return None, "no cgroup above us hands its memory controller down"
        group = group.parent
    return group, ""


class MemoryGroup:
    """The cgroup of one process tree, or the reason why there is none."""

    def __init__(self, folder: Path | None, held: str) -> None:
        self._folder = folder
        self.held = held
        """``cgroup``, or ``not enforced: <why>``."""

    def admit(self, pid: int) -> None:
        """Put a process in; children it starts from now on follow it."""
        if self._folder is None:
            return
        try:
            (self._folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            self.held = f"not enforced: the process could not enter its cgroup ({error.strerror})"

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in here for want of memory."""
        if self._folder is None:
            return False
        events = (line.split() for line in _read(self._folder / "memory.events").splitlines())
        return any(name == "oom_kill" and int(count) > 0 for name, count in events)

    def remove(self) -> None:
        """Kill what is left in it and remove it. Does nothing the second time."""
        if self._folder is None:
            return
        with suppress(OSError):
            (self._folder / "cgroup.kill").write_text("1")
        # The kernel lets go of killed processes a moment after they are gone for everyone else.
        for _ in range(50):
            try:
                self._folder.rmdir()
            except OSError as error:
                if error.errno == errno.EBUSY:
                    time.sleep(0.01)
                    continue
            return


@contextmanager
def memory_group(
    name: str, limit_bytes: int | None, root: Path = _ROOT, membership: Path = _SELF
) -> Iterator[MemoryGroup]:
    """A cgroup called ``name`` with a hard limit and no swap, removed when the block ends."""
    if limit_bytes is None:
        yield MemoryGroup(None, "")
        return
    home, why = home_of_groups(root, membership)
    if home is None:
        yield MemoryGroup(None, f"not enforced: {why}")
        return
    folder = home / name
    try:
        folder.mkdir()
        (folder / "memory.max").write_text(str(limit_bytes))
    except OSError as error:
        MemoryGroup(folder, "").remove()
        yield MemoryGroup(None, f"not enforced: {folder} could not be made ({error.strerror})")
        return
    for file, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
        # A kernel without swap accounting has no such file. A tree dies whole: half a server would mislead.
        with suppress(OSError):
            (folder / file).write_text(value)
    group = MemoryGroup(folder, "cgroup")
    try:
        yield group
    finally:
        group.remove()
