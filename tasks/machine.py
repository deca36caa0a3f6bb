"""This machine, as far as it may change a figure."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from export.gpu import gpu_facts

__all__ = ["Placement", "context", "hardware", "placement"]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Placement:
    """Which logical processors servers and the load engine run on. ``None``: wherever the system likes."""

    server: tuple[int, ...] | None
    client: tuple[int, ...] | None


def placement() -> Placement:
    """The load engine gets a processor no server may use, where there are two: it must not queue behind what it times.

    Its hyperthread siblings stay idle as well where that leaves servers any: they share its core.
    """
    if not hasattr(os, "sched_getaffinity"):
        return Placement(None, None)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return Placement(None, None)
    client = cpus[-1]
    apart = tuple(cpu for cpu in cpus if cpu not in _siblings(client))
    return Placement(server=apart or tuple(cpus[:-1]), client=(client,))


def _siblings(cpu: int) -> set[int]:
    """The logical processors of one core, itself included."""
    text = _first_line(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")) or str(cpu)
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def hardware(place: Placement) -> str:
    """The kind of machine and what a server may use of it: part of a series' identity, so never a host name."""
    cpus = len(place.server) if place.server else psutil.cpu_count() or 1
    gpus = gpu_facts()["gpu"]
    return f"{_cpu_model()} x{cpus}" + (f", {gpus}" if gpus != "none" else "")


def context() -> Mapping[str, str]:
    """What may change under a series from one night to the next. Recorded, and not part of its identity."""
    lock = ROOT / "requirements.lock"
    return {
        "cpu": _cpu_model(),
        "cpus": str(psutil.cpu_count() or 1),
        "memory_bytes": str(psutil.virtual_memory().total),
        "kernel": platform.release(),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "nightbench": _own_version(),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.exists() else "none",
        "git_sha": _git_sha(),
        **gpu_facts(),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or "unknown",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError:
        return ""


def _git_sha() -> str:
    """The commit this code is at, marked when files differ from it; ``unknown`` outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()


def _own_version() -> str:
    """Without a version where it runs from a checkout that was not installed; the commit stands beside it."""
    try:
        return version("nightbench")
    except PackageNotFoundError:
        return "not installed"
