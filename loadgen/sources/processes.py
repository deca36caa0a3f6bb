"""What process trees and the machine around them use, by psutil."""

from contextlib import suppress
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
    """Processes and their descendants, which may come and go. Each counts once, whatever roots it descends from.

    ``rescan_every`` readings the system's process list is walked for new ones; walking it costs milliseconds.
    A process counts from when it was first seen, and one that ends loses what it used since the last reading.
    """

    def __init__(self, *pids: int, rescan_every: int = 5) -> None:
        self._rescan_every = rescan_every
        self._readings = 0
        self._grown = False
        """Whether a root was added since the last rescan."""
        self._roots: list[psutil.Process] = []
        self._cpu_s: dict[psutil.Process, float] = {}
        """Each member's processor time at the last reading."""
        self._members: list[psutil.Process] = []
        for pid in pids:
            self.add(pid)

    def add(self, pid: int) -> None:
        """Watch another process and its descendants, from the next reading on. Any thread may call this."""
        with suppress(psutil.Error, ValueError, OverflowError):
            self._roots.append(psutil.Process(pid))
            self._grown = True

    @property
    def pids(self) -> frozenset[int]:
        """Those that were alive at the last reading."""
        return frozenset(process.pid for process in self._members)

    def read(self) -> Usage | None:
        """The trees' usage; ``None`` once nothing of them is alive."""
        if self._grown or self._readings % self._rescan_every == 0:
            self._grown = False
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
        # Those that outlive the root they descend from still count.
        members = dict.fromkeys(self._members)
        for root in self._roots:
            with suppress(psutil.Error):
                members |= dict.fromkeys([root, *root.children(recursive=True)])
        self._members = list(members)


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
