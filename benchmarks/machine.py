"""What every benchmark says about where it ran, and how it shares the processors out."""

import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.limits import affinity

__all__ = ["Cpus", "describe", "load_average", "spread", "verdict"]

_SPIN_NS = 1_000_000_000
_STANDSTILL_NS = 10_000


@dataclass(frozen=True, slots=True)
class Cpus:
    """Where the server runs, and where the client does; ``None`` is anywhere."""

    server: tuple[int, ...] | None
    client: tuple[int, ...] | None

    @classmethod
    def split(cls) -> "Cpus":
        """One processor each, if there are two."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls((allowed[0],), (allowed[-1],)) if len(allowed) > 1 else cls(None, None)


def describe(cpus: Cpus) -> Iterator[str]:
    """Machine, commit, processors and noise, a line each."""
    yield f"{_model()} x{os.cpu_count()}, Linux {platform.release()}, Python {platform.python_version()}"
    yield f"commit {_commit()}, server on processor {cpus.server}, client on {cpus.client}"
    yield f"load average {load_average()}; {_standstills(cpus.client)}"


def _standstills(cpus: tuple[int, ...] | None) -> str:
    """What kept a spinning process from running on the client's processor: neighbours, the host, interrupts."""
    with affinity(cpus):
        stops, begin, end = [], time.perf_counter_ns(), time.perf_counter_ns() + _SPIN_NS
        last = begin
        while last < end:
            now = time.perf_counter_ns()
            if now - last > _STANDSTILL_NS:
                stops.append(now - last)
            last = now
    return (
        f"a spinning process stood still {sum(stops) / (last - begin):.1%} of a second, "
        f"{max(stops, default=0) / 1e3:.0f} µs at the longest"
    )


def load_average() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and in brackets the smallest and the largest."""
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def verdict(value: float, bar: float, unit: str = "") -> str:
    return f"<= {bar:g}{unit}: {'met' if value <= bar else 'MISSED'}"


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    if not git:
        return "unknown"
    described = subprocess.run((git, "describe", "--always", "--dirty"), capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"
