"""A Python environment of its own, of a server or an exporter: made once from a pinned requirement list, then shared.

Environments lie side by side and share their packages' files through uv's cache by hard link. One is built in
place, because its scripts hold its path, under a lock; a stamp says that it is whole.
"""

import fcntl
import json
import os
import platform
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Protocol, TextIO

from launch.uv import Uv
from nightbench.errors import DeploymentError
from nightbench.stopping import Stopped, never

__all__ = [
    "Environment",
    "Pinned",
    "build_ns",
    "ensure_environment",
    "environment_folder",
    "lock_path",
    "pinned_version",
    "take",
]

_STAMP = ".complete"
_POLL_S = 0.2


class Pinned(Protocol):
    """What has an environment: a `nightbench.server.ServerSpec`, an `export.environments.ExportEnvironment`."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path:
        """It may hold ``overrides.txt``, in uv's own words, where packages ask for what cannot be had together."""

    @property
    def requirements(self) -> Path:
        """The pinned list."""

    @property
    def distribution(self) -> str:
        """The package in that list whose version is the version of the whole."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the packages are, and which."""

    python: Path
    site_packages: Path
    fingerprint: str
    """Hash of the requirement list with its overrides, the Python version and the platform; ``host`` for this
    interpreter's own."""
    version: str
    """Of the server, or of what else it is for: of the distribution that is named."""
    built: bool
    """Whether this call built it."""
    build_ns: int
    """How long the build took when it was done, now or earlier; 0 for ``host``."""
    image: str = ""
    """The container image that holds it, by the name or id that starts it; empty where it is a folder here."""
    image_digest: str = ""


def ensure_environment(
    spec: Pinned,
    root: Path,
    mode: str,
    on_event: Callable[[str], None],
    log: Path,
    should_stop: Callable[[], bool] = never,
) -> Environment:
    """The environment of ``spec`` under ``root``, built if there is none yet.

    ``mode`` is ``pinned``, or ``host`` for the packages of this interpreter as they are. ``on_event`` is told in
    words what takes time; what uv prints goes to ``log``. Raises `DeploymentError` of kind ``no_environment``, and
    `Stopped` soon after ``should_stop`` turns true while it builds or waits for another that does.
    """
    try:
        return _host(spec) if mode == "host" else _pinned(spec, root, on_event, log, should_stop)
    except OSError as error:
        raise DeploymentError("no_environment", f"the environment of {spec.name}: {error}") from error


def _host(spec: Pinned) -> Environment:
    try:
        found = metadata.distribution(spec.distribution)
    except metadata.PackageNotFoundError:
        raise DeploymentError(
            "no_environment",
            f"{spec.distribution} is not installed in {sys.executable}; install {spec.requirements} there, "
            "or set NIGHTBENCH_ENVIRONMENTS=pinned",
        ) from None
    site_packages = Path(str(found.locate_file(""))).absolute()
    return Environment(Path(sys.executable), site_packages, "host", found.version, built=False, build_ns=0)


def _overrides(spec: Pinned) -> Path | None:
    path = spec.folder / "overrides.txt"
    return path if path.is_file() else None


def _fingerprint(spec: Pinned) -> str:
    python = (sys.implementation.name, platform.python_version(), sysconfig.get_platform())
    parts = ["\n".join(python).encode(), spec.requirements.read_bytes()]
    if overrides := _overrides(spec):
        parts.append(overrides.read_bytes())
    return sha256(b"\0".join(parts)).hexdigest()[:12]


def environment_folder(spec: Pinned, root: Path) -> Path:
    """Where the environment of the present requirement list lies under ``root``, built or not.

    `OSError` if there is no such list.
    """
    return root / f"{spec.name}-{_fingerprint(spec)}"


def lock_path(folder: Path) -> Path:
    """The file that is locked while an environment is built or removed. It stays: others may wait for it."""
    return folder.with_name(f"{folder.name}.lock")


def _pinned(
    spec: Pinned, root: Path, on_event: Callable[[str], None], log: Path, should_stop: Callable[[], bool]
) -> Environment:
    folder = environment_folder(spec, root)
    built = False
    took_ns = build_ns(folder)
    if took_ns is None:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(lock_path(folder), spec.name, on_event, should_stop) as lock:
            # Whoever held the lock before us may have built it.
            took_ns = build_ns(folder)
            if took_ns is None:
                on_event(f"building the environment of {spec.name} (first use)")
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("w") as output:
                    took_ns = _build(spec, folder, Uv(spec.name, output, lock, on_event, should_stop))
                built = True
    fingerprint = folder.name.rpartition("-")[2]
    return Environment(_python(folder), _site_packages(folder), fingerprint, _version(spec, folder), built, took_ns)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _site_packages(folder: Path) -> Path:
    base = str(folder)
    return Path(sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base}))


def build_ns(folder: Path) -> int | None:
    """How long it took to build, if it was built to its end and the interpreter it links to is still there."""
    if not _python(folder).exists():
        return None
    try:
        return int(json.loads((folder / _STAMP).read_text())["build_ns"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # A stamp that says nothing stamps nothing: a crash may have torn it, and the packages with it.
        return None


@contextmanager
def _locked(path: Path, name: str, on_event: Callable[[str], None], should_stop: Callable[[], bool]) -> Iterator[int]:
    """Hold the lock file; its descriptor. The operating system lets go of it when its holders die."""
    with path.open("w") as file:
        if not take(file):
            on_event(f"waiting for another nightbench that builds the environment of {name}")
            while not take(file):
                if should_stop():
                    raise Stopped(f"stopped while waiting for the environment of {name}")
                time.sleep(_POLL_S)
        yield file.fileno()


def take(file: TextIO) -> bool:
    """Lock it until it is closed, if nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(spec: Pinned, folder: Path, uv: Uv) -> int:
    """Make it anew; how long that took, in nanoseconds."""
    shutil.rmtree(folder, ignore_errors=True)
    began_ns = time.monotonic_ns()
    uv.run("venv", "--no-project", "--python", sys.executable, str(folder))
    overrides = _overrides(spec)
    # Compiled now, or the very first cold start of a server would be slower than all later ones.
    uv.run(
        *("pip", "install", "--compile-bytecode"),
        *("--python", str(_python(folder))),
        *("--requirements", str(spec.requirements)),
        *(("--overrides", str(overrides)) if overrides else ()),
    )
    _version(spec, folder)
    took_ns = time.monotonic_ns() - began_ns
    _stamp(folder, {"server": spec.name, "build_ns": took_ns})
    return took_ns


def _stamp(folder: Path, facts: Mapping[str, str | int]) -> None:
    """Say that it is whole, in words that reach the disk after the packages did and before their name."""
    os.sync()
    partial = folder / f"{_STAMP}.partial"
    with partial.open("w") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / _STAMP)


def _version(spec: Pinned, folder: Path) -> str:
    wanted = spec.distribution
    for found in metadata.distributions(name=wanted, path=[os.fspath(_site_packages(folder))]):
        return found.version
    raise DeploymentError(
        "no_environment", f"{spec.requirements} does not install {wanted}, the distribution {spec.name} names"
    )


def pinned_version(spec: Pinned) -> str:
    """The version that the requirement list pins, whether or not the environment has been built."""
    from packaging.utils import canonicalize_name

    if not spec.requirements.is_file():
        return "unpinned"
    for line in spec.requirements.read_text(encoding="utf-8").splitlines():
        name, pinned, version = line.partition(";")[0].partition("==")
        if pinned and canonicalize_name(name) == canonicalize_name(spec.distribution):
            return version.strip()
    return "unpinned"
