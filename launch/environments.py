"""The server environments on this disk: which there are, what they take up, and which are of no use any more."""

import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from launch.environment import Pinned, build_ns, environment_folder, lock_path, take

__all__ = ["Built", "Pruned", "built_environments", "is_built", "prune", "total_bytes"]

_BLOCK_BYTES = 512
"""The unit of ``st_blocks``, whatever the file system's own (stat(2))."""
_Blocks = dict[tuple[int, int], int]
"""Bytes on disk of each file, by device and inode: names of one file count once."""


@dataclass(frozen=True, slots=True)
class Built:
    """One environment on disk."""

    folder: Path
    server: str
    fingerprint: str
    whole: bool
    """Whether it was built to its end."""
    current: bool
    """Whether it is that of a server's present requirement list."""
    size_bytes: int
    """What it takes up, files with several names counted once."""
    shared_bytes: int
    """As much of it is in other environments, too."""
    modified_s: float
    """When it was built, as seconds of the epoch."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of an environment that was to be removed."""

    environment: Built
    kept: str = ""
    """Why it is still there; empty when it is gone."""


def is_built(spec: Pinned, root: Path) -> bool:
    """Whether the environment of its present requirement list is there and whole."""
    try:
        return build_ns(environment_folder(spec, root)) is not None
    except OSError:
        return False


def built_environments(specs: Iterable[Pinned], root: Path) -> list[Built]:
    """Every environment under ``root``, by name; those half built or of servers unknown by now as well."""
    current = set(_current(specs, root))
    blocks = {folder: _blocks(folder) for folder in _folders(root)}
    users: dict[tuple[int, int], int] = {}
    for files in blocks.values():
        for file in files:
            users[file] = users.get(file, 0) + 1
    return [
        Built(
            folder=folder,
            server=folder.name.rpartition("-")[0],
            fingerprint=folder.name.rpartition("-")[2],
            whole=build_ns(folder) is not None,
            current=folder in current,
            size_bytes=sum(files.values()),
            shared_bytes=sum(size for file, size in files.items() if users[file] > 1),
            modified_s=folder.stat().st_mtime,
        )
        for folder, files in blocks.items()
    ]


def total_bytes(root: Path) -> int:
    """What all of them take up together."""
    everything: _Blocks = {}
    for folder in _folders(root):
        everything |= _blocks(folder)
    return sum(everything.values())


def prune(environments: Iterable[Built]) -> Iterator[Pruned]:
    """Remove them one by one, each under its lock; one that is being built or runs a server stays."""
    for environment in environments:
        with lock_path(environment.folder).open("w") as lock:
            if not take(lock):
                yield Pruned(environment, "it is being built")
            elif pids := _users(environment.folder):
                yield Pruned(environment, f"in use by process {', '.join(map(str, pids))}")
            else:
                # Gone in one step: whoever looks meanwhile must not take half of it for the whole.
                doomed = environment.folder.with_name(f"{environment.folder.name}.removed")
                shutil.rmtree(environment.folder.replace(doomed))
                yield Pruned(environment)


def _current(specs: Iterable[Pinned], root: Path) -> Iterator[Path]:
    for spec in specs:
        if spec.requirements.is_file():
            yield environment_folder(spec, root)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*-*") if path.is_dir())


def _blocks(folder: Path) -> _Blocks:
    found: _Blocks = {}
    for parent, names, files in os.walk(folder):
        for name in (*names, *files):
            seen = Path(parent, name).lstat()
            # A folder cannot have two names.
            if not stat.S_ISDIR(seen.st_mode):
                found[seen.st_dev, seen.st_ino] = seen.st_blocks * _BLOCK_BYTES
    return found


def _users(folder: Path) -> Collection[int]:
    """The processes whose command line names a file in it: its interpreter is one."""
    inside = f"{folder}{os.sep}"
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(part.startswith(inside) for part in process.info["cmdline"] or ())
    ]
