"""A server's own Python environment: made once from its pinned requirement list, shared by every run after.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from launch.uv import Uv
from nightbench.errors import DeploymentError
from nightbench.server import ServerSpec

__all__ = ["Environment", "ensure_environment"]

_STAMP = ".complete"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a server's packages are, and which."""

    python: Path
    site_packages: Path
    fingerprint: str
    """Hash of the requirement list, the Python version and the platform; ``host`` for this interpreter's own."""
    version: str
    """Of the server: of the distribution its spec names."""
    built: bool
    """Whether this call built it."""
    build_ns: int
    """How long the build took when it was done, now or earlier; 0 for ``host``."""


def ensure_environment(
    spec: ServerSpec, root: Path, mode: str, on_event: Callable[[str], None], log: Path
) -> Environment:
    """The environment of ``spec`` under ``root``, built if there is none yet.

    ``mode`` is ``pinned``, or ``host`` for the packages of this interpreter as they are. ``on_event`` is told in
    words what takes time; what uv prints goes to ``log``. Raises `DeploymentError` of kind ``no_environment``.
    """
    try:
        return _host(spec) if mode == "host" else _pinned(spec, root, on_event, log)
    except OSError as error:
        raise DeploymentError("no_environment", f"the environment of {spec.name}: {error}") from error


def _host(spec: ServerSpec) -> Environment:
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


def _fingerprint(requirements: Path) -> str:
    python = (sys.implementation.name, platform.python_version(), sysconfig.get_platform())
    return sha256("\n".join(python).encode() + b"\0" + requirements.read_bytes()).hexdigest()[:12]


def _pinned(spec: ServerSpec, root: Path, on_event: Callable[[str], None], log: Path) -> Environment:
    fingerprint = _fingerprint(spec.requirements)
    folder = root / f"{spec.name}-{fingerprint}"
    built = False
    if not _whole(folder):
        root.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock"), spec.name, on_event) as lock:
            # Whoever held the lock before us may have built it.
            if not _whole(folder):
                _build(spec, folder, on_event, log, lock)
                built = True
    return Environment(
        _python(folder),
        _site_packages(folder),
        fingerprint,
        _version(spec, folder),
        built,
        json.loads((folder / _STAMP).read_text())["build_ns"],
    )


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _site_packages(folder: Path) -> Path:
    base = str(folder)
    return Path(sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base}))


def _whole(folder: Path) -> bool:
    """Built to its end, and the interpreter it links to is still there."""
    return (folder / _STAMP).exists() and _python(folder).exists()


@contextmanager
def _locked(path: Path, server: str, on_event: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock file; its descriptor. The operating system lets go of it when its holders die."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_event(f"waiting for another nightbench that builds the environment of {server}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _build(spec: ServerSpec, folder: Path, on_event: Callable[[str], None], log: Path, lock: int) -> None:
    on_event(f"building the environment of {spec.name} (first use)")
    shutil.rmtree(folder, ignore_errors=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    began_ns = time.monotonic_ns()
    with log.open("w") as output:
        uv = Uv(spec.name, output, lock, on_event)
        uv.run("venv", "--no-project", "--python", sys.executable, str(folder))
        # Compiled now, or the very first cold start of a server would be slower than all later ones.
        uv.run(
            "pip",
            "install",
            "--compile-bytecode",
            "--python",
            str(_python(folder)),
            "--requirements",
            str(spec.requirements),
        )
    _version(spec, folder)
    stamp = folder / f"{_STAMP}.partial"
    stamp.write_text(json.dumps({"server": spec.name, "build_ns": time.monotonic_ns() - began_ns}))
    stamp.replace(folder / _STAMP)


def _version(spec: ServerSpec, folder: Path) -> str:
    wanted = spec.distribution
    for found in metadata.distributions(name=wanted, path=[os.fspath(_site_packages(folder))]):
        return found.version
    raise DeploymentError(
        "no_environment", f"{spec.requirements} does not install {wanted}, the distribution {spec.name} names"
    )
