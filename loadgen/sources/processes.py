"""What process trees and the machine around them use, by psutil."""

from dataclasses import dataclass

import psutil

__all__ = ["MachineCpu", "ProcessTree", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one tree of processes uses, at one moment."""

    cpu_s: float
    """User and system time since the last reading. 0 at the first, which has nothing to count from."""
    rss_bytes: int
    """Summed over processes, so a page that several of them share counts several times."""
    threads: int


class ProcessTree:
    """A process and its descendants, which may come and go.

    ``rescan_every`` readings the system's process list is walked for new ones; walking it costs milliseconds.
    A process counts from when it was first seen, and one that ends loses what it used since the last reading.
    """

    def __init__(self, pid: int, rescan_every: int = 5) -> None:
        self.pid = pid
        self._rescan_every = rescan_every
        self._readings = 0
        self._root: psutil.Process | None
        try:
            self._root = psutil.Process(pid)
        except (psutil.Error, ValueError, OverflowError):
            self._root = None
        self._cpu_s: dict[psutil.Process, float] = {}
        """Each member's processor time at the last reading."""
        self._members: list[psutil.Process] = []

    def read(self) -> Usage | None:
        """The tree's usage; ``None`` once nothing of it is alive."""
        if self._readings % self._rescan_every == 0:
            self._rescan()
        self._readings += 1
        used_s, rss_bytes, threads = 0.0, 0, 0
        seen: dict[psutil.Process, float] = {}
        for process in self._members:
            try:
                with process.oneshot():
                    if process.status() == psutil.STATUS_ZOMBIE:
                        continue
                    times = process.cpu_times()
                    memory_bytes = process.memory_info().rss
                    count = process.num_threads()
            except psutil.Error:
                continue
            cpu_s = times.user + times.system
            seen[process] = cpu_s
            used_s += cpu_s - self._cpu_s.get(process, cpu_s)
            rss_bytes += memory_bytes
            threads += count
        self._cpu_s = seen
        self._members = list(seen)
        return Usage(max(0.0, used_s), rss_bytes, threads) if seen else None

    def _rescan(self) -> None:
        if self._root is None:
            return
        try:
            self._members = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            # The root is gone: those of its children that outlive it still count.
            self._root = None


class MachineCpu:
    """Processor time of the whole machine, however many of its processors we may use."""

    def __init__(self) -> None:
        self._busy_s = _busy_s()

    def read(self) -> float:
        """Seconds that all processors together were busy since the last reading."""
        before, self._busy_s = self._busy_s, _busy_s()
        return max(0.0, self._busy_s - before)


def _busy_s() -> float:
    """Everything but idling. Time stolen by other virtual machines is busy: we did not have it."""
    times = psutil.cpu_times()
    # Linux counts guests in user and nice already.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(times) - sum(getattr(times, name, 0.0) for name in idle))
