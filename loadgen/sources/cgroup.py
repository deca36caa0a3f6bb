"""What a control group says of itself: processor time used and denied, memory held, processes killed for want of it.

See "Control Group v2" in the Linux kernel's administration guide, and for version 1 "CFS Bandwidth Control", "CPU
Accounting Controller" and "Memory Resource Controller".
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Container", "CpuThrottle", "Held"]


class CpuThrottle:
    """The group that holds process ``pid`` now. Without a limit on its processor time there is nothing to read."""

    def __init__(self, pid: int, root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._folder = _folder_of(pid, "cpu", root, proc)
        self._throttled_s = _throttled_s(self._folder)

    def read(self) -> float | None:
        """Seconds throttled since the last reading, summed over processors."""
        before, self._throttled_s = self._throttled_s, _throttled_s(self._folder)
        if before is None or self._throttled_s is None or self._throttled_s < before:
            return None
        return self._throttled_s - before


@dataclass(frozen=True, slots=True)
class Held:
    """What a container holds, at one moment."""

    cpu_s: float
    """Processor time since the last reading, of processes too that came and went meanwhile; 0 at the first."""
    memory_bytes: int
    """What its limit counts: each page once, files it read included."""
    oom_kills: int
    """Processes of it that the kernel killed for memory, ever."""


class Container:
    """The control group of a container whose first process is ``pid``: its own, so that all in it is the server's."""

    def __init__(self, pid: int, root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._cpu, self._cpuacct, self._memory = (
            _folder_of(pid, each, root, proc) for each in ("cpu", "cpuacct", "memory")
        )
        self._cpu_s: float | None = None

    def read(self) -> Held | None:
        """``None`` where there is none to be seen, and once it is gone."""
        cpu_s, memory_bytes = self._used_s(), self._memory_bytes()
        if cpu_s is None or memory_bytes is None:
            return None
        before, self._cpu_s = self._cpu_s, cpu_s
        return Held(max(0.0, cpu_s - (cpu_s if before is None else before)), memory_bytes, self._oom_kills())

    def _used_s(self) -> float | None:
        if self._cpuacct is not None and (used_ns := _number(self._cpuacct / "cpuacct.usage")) is not None:
            return used_ns * 1e-9
        used_us = None if self._cpu is None else _figures(self._cpu / "cpu.stat").get("usage_usec")
        return None if used_us is None else used_us * 1e-6

    def _memory_bytes(self) -> int | None:
        if self._memory is None:
            return None
        current = _number(self._memory / "memory.current")
        return _number(self._memory / "memory.usage_in_bytes") if current is None else current

    def _oom_kills(self) -> int:
        if self._memory is None:
            return 0
        events = _figures(self._memory / "memory.events") or _figures(self._memory / "memory.oom_control")
        return events.get("oom_kill", 0)


def _folder_of(pid: int, controller: str, root: Path, proc: Path) -> Path | None:
    """The process's group: of version 1's controller where that is mounted, else of version 2."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if ":" in line)}
    for controllers, path in groups.items():
        if controller in controllers.split(","):
            return root / controller / path.lstrip("/")
    return root / groups[""].lstrip("/") if "" in groups else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _figures(path: Path) -> dict[str, int]:
    """Of a flat keyed file; empty where there is none."""
    try:
        lines = (line.split() for line in path.read_text().splitlines())
        return {name: int(value) for name, value in lines}
    except (OSError, ValueError):
        return {}


def _throttled_s(folder: Path | None) -> float | None:
    figures = {} if folder is None else _figures(folder / "cpu.stat")
    if figures.get("nr_periods", 0) == 0:
        # No period was ever counted: the group has no limit to run into.
        return None
    if "throttled_usec" in figures:
        return figures["throttled_usec"] * 1e-6
    return figures["throttled_time"] * 1e-9 if "throttled_time" in figures else None
