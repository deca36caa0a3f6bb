"""`nightbench doctor`."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from dashboards.report.format import size
from flows.console import open_console, table
from flows.registry import load_catalog, pinned_version
from launch.environments import is_built
from launch.here import missing
from nightbench.errors import NightbenchError
from nightbench.server import ServerSpec
from nightbench.settings import Settings

__all__ = ["Finding", "doctor", "findings"]

GIB = 1024**3
ENOUGH_DISK_BYTES = 10 * GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a night may need: whether it is here, and what to do if not."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


def doctor() -> None:
    """Say what this machine can run, and what to install for the rest."""
    settings, console = Settings.from_environment(), open_console()
    rows = [
        {
            "what": finding.what,
            "here": "yes" if finding.ok else "no",
            "found": finding.found,
            "remedy": "" if finding.ok else finding.remedy,
        }
        for finding in findings(settings)
    ]
    console.print(table("this machine", rows))


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything the doctor looks at, cheapest first."""
    yield Finding("Python 3.11+", True, platform.python_version())
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    yield Finding(
        "a processor for the load engine", cpus >= 2, f"{cpus} processors", "use two or more: one for the load engine"
    )
    yield _disk("disk for results", settings.home)
    yield _disk("disk for exports and environments", settings.cache)
    yield from _gpu()
    yield _docker()
    yield _database(settings)
    yield from _servers(settings)


def _disk(what: str, folder: Path) -> Finding:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    return Finding(what, free_bytes > ENOUGH_DISK_BYTES, f"{size(free_bytes)} free", f"free 10 GiB under {existing}")


def _gpu() -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    yield Finding("NVIDIA GPU", tool is not None, "driver found" if tool else "none", "not needed for CPU suites")


def _docker() -> Finding:
    from launch.engine import available, engine_url

    why = available()
    found = engine_url() if why is None else why
    return Finding("Docker engine", why is None, found, "not needed: servers run as local processes without one")


def _database(settings: Settings) -> Finding:
    from db import embedded
    from db.connect import database_url

    if settings.database_url is None:
        up = embedded.running(settings.home)
        return Finding("database", up, "embedded Postgres" + ("" if up else ", stopped"), "`nightbench up` starts it")
    try:
        database_url(settings)
    except NightbenchError as error:
        return Finding("database", False, str(error), "correct NIGHTBENCH_DATABASE_URL")
    return Finding("database", True, "NIGHTBENCH_DATABASE_URL answers")


def _servers(settings: Settings) -> Iterator[Finding]:
    for name, spec in load_catalog(settings).servers.items():
        if absent := missing(spec):
            yield Finding(f"server {name}", False, "cannot run here", f"it needs {', '.join(absent)}")
        elif settings.environments == "host":
            yield _on_host(name, spec)
        else:
            yield Finding(
                f"server {name}",
                is_built(spec, settings.server_environments),
                f"{spec.distribution} {pinned_version(spec)}",
                "its environment is built by the first run (or see its requirements.txt)",
            )


def _on_host(name: str, spec: ServerSpec) -> Finding:
    """Where servers run in this interpreter, what counts is what is installed in it."""
    try:
        found = f"{spec.distribution} {version(spec.distribution)}"
    except PackageNotFoundError:
        return Finding(f"server {name}", False, "not installed", f"install {spec.distribution} in this environment")
    return Finding(f"server {name}", True, found)
