"""How long a control group was kept from running because its processor time was used up.

From ``cpu.stat``: "Control Group v2", section CPU, and "CFS Bandwidth Control" for version 1, both in the Linux
kernel's documentation.
"""

from pathlib import Path

__all__ = ["CpuThrottle"]


class CpuThrottle:
    """The group that holds process ``pid`` now. Without a limit on its processor time there is nothing to read."""

    def __init__(self, pid: int, root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._stat = _stat_of(pid, root, proc)
        self._throttled_s = _throttled_s(self._stat)

    def read(self) -> float | None:
        """Seconds throttled since the last reading, summed over processors."""
        before, self._throttled_s = self._throttled_s, _throttled_s(self._stat)
        if before is None or self._throttled_s is None or self._throttled_s < before:
            return None
        return self._throttled_s - before


def _stat_of(pid: int, root: Path, proc: Path) -> Path | None:
    """``cpu.stat`` of the process's group: of version 1's cpu controller where it is mounted, else of version 2."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if ":" in line)}
    for controllers, path in groups.items():
        if "cpu" in controllers.split(","):
            return root / "cpu" / path.lstrip("/") / "cpu.stat"
    return root / groups[""].lstrip("/") / "cpu.stat" if "" in groups else None


def _throttled_s(stat: Path | None) -> float | None:
    if stat is None:
        return None
    try:
        figures = dict(line.split(maxsplit=1) for line in stat.read_text().splitlines())
        if int(figures.get("nr_periods", "0")) == 0:
            # No period was ever counted: the group has no limit to run into.
            return None
        if "throttled_usec" in figures:
            return int(figures["throttled_usec"]) * 1e-6
        return int(figures["throttled_time"]) * 1e-9
    except (OSError, ValueError, KeyError):
        return None
