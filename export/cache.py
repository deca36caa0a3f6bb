"""A cache of files that say themselves whether they are whole.

An entry is a folder named by the hash of everything that went into it (`Request.key`). It holds the file, named by the
hash of its bytes, and ``manifest.json``. Entries appear whole or not at all, one process makes an entry at a time, and
a file whose bytes no longer match its name is made anew. What is made may also be a folder of files.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from export.failure import one_line
from export.memory import Peak
from nightbench.errors import ExportError, NightbenchError

__all__ = ["Cache", "Entry", "Make", "NotCached", "Request"]

_MANIFEST = "manifest.json"

Make = Callable[[Path], Mapping[str, Any]]
"""Writes a file, or makes a folder, at a path; returns what the manifest shall say about it, as JSON values."""


class NotCached(NightbenchError):
    """The entry is not there, or not whole, and this cache was told not to make any."""


@dataclass(frozen=True)
class Request:
    """What an entry is made from, and what it is called."""

    label: str
    """The readable half of the folder's name."""
    suffix: str
    facts: Mapping[str, Any]
    """Everything that can change the bytes, as JSON values."""
    purpose: str
    """For the sentence when it fails: ``exporting resnet50 to onnx``."""

    @cached_property
    def key(self) -> str:
        text = json.dumps(self.facts, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole file, or folder, of the cache."""

    path: Path
    sha256: str
    size_bytes: int
    made_ns: int
    """How long making it took, when it was made, without other entries that it needed and had made, or waited for, on
    the way."""
    peak_rss_bytes: int
    """The most memory this process held meanwhile, or one that it started for it; 0 where that was not noted."""
    facts: Mapping[str, Any]
    cached: bool
    """Whether it was there before it was asked for."""


def _files(path: Path) -> list[Path]:
    """The file itself, or all the files below a folder."""
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _hash(path: Path) -> str:
    """Of the bytes of a file; of a folder, of what ``sha256sum`` prints for its files, in order of their names."""
    if path.is_dir():
        lines = [f"{_hash(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path)]
        return sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _settle(path: Path) -> int:
    """See that all of it is on the disk; its size in bytes."""
    files = _files(path)
    for each in files:
        with each.open("rb") as file:
            os.fsync(file.fileno())
    return sum(file.stat().st_size for file in files)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, and tell how many nanoseconds another process had it.

    The kernel drops it when this process ends, however that happens.
    """
    with (folder / "lock").open("w") as file:
        asked_ns = time.monotonic_ns()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield time.monotonic_ns() - asked_ns


@dataclass(slots=True)
class Cache:
    """The entries below ``root``."""

    root: Path
    may_make: bool = True
    """With ``False``, an entry that is absent or broken raises `NotCached` instead of being made."""
    rebuilt: list[str] = field(default_factory=list)
    """One sentence for each entry that was found broken and made anew."""
    _spent_ns: int = 0
    """On all entries made so far, and on waiting for other processes to make theirs."""

    def get(self, request: Request, make: Make) -> Entry:
        """The entry, made if need be. Raises `ExportError` when making it fails."""
        folder = self.root / f"{request.label}-{request.key}"
        entry, broken = self._find(folder)
        if entry is not None:
            return entry
        if not self.may_make:
            raise NotCached(broken or f"{folder} does not exist")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder) as waited_ns:
                self._spent_ns += waited_ns
                entry, broken = self._find(folder)  # another process may have made it meanwhile
                if entry is not None:
                    return entry
                made = self._make(folder, request, make)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(f"{request.purpose} failed: {one_line(error)}") from error
        if broken is not None:
            self.rebuilt.append(f"{broken}; it was made anew")
        return made

    def holding(self, sha256: str) -> Entry | None:
        """The whole entry of those bytes, whatever it was made from; ``None`` if there is none, or none whole."""
        for manifest in sorted(self.root.glob(f"*/{_MANIFEST}")):
            # A name costs nothing to look at; only what has the right one is read and hashed.
            if any(path.name.partition(".")[0] == sha256 for path in manifest.parent.iterdir()):
                entry, _ = self._find(manifest.parent)
                if entry is not None and entry.sha256 == sha256:
                    return entry
        return None

    def _find(self, folder: Path) -> tuple[Entry | None, str | None]:
        """The whole entry, or what is wrong with it; neither where there is none."""
        try:
            text = (folder / _MANIFEST).read_text()
        except FileNotFoundError:
            return None, None
        except (OSError, UnicodeDecodeError) as error:
            return None, f"{folder / _MANIFEST} cannot be read ({one_line(error)})"
        try:
            manifest = json.loads(text)
            name, digest = str(manifest["file"]), str(manifest["sha256"])
            size, made_ns, facts = int(manifest["size_bytes"]), int(manifest["made_ns"]), dict(manifest["facts"])
            peak = int(manifest.get("peak_rss_bytes", 0))
        except (ValueError, KeyError, TypeError):
            return None, f"{folder / _MANIFEST} is not a manifest"
        path = folder / Path(name).name
        try:
            whole = _hash(path) == digest
        except OSError as error:
            return None, f"{path} cannot be read ({one_line(error)})"
        if not whole:
            return None, f"{path} does not hold the bytes it is named by"
        return Entry(path, digest, size, made_ns, peak, facts, cached=True), None

    def _make(self, folder: Path, request: Request, make: Make) -> Entry:
        for leftover in folder.iterdir():  # of a process that was killed, or the broken file itself
            if leftover.name != "lock":
                _remove(leftover)
        partial = folder / f"partial{request.suffix}"
        try:
            started_ns = time.monotonic_ns() - self._spent_ns
            peak = Peak()
            facts = make(partial)
            peak_rss_bytes = peak.bytes()
            made_ns = time.monotonic_ns() - self._spent_ns - started_ns
            self._spent_ns += made_ns
            Peak()  # an entry that waits for this one starts to count anew: it has not needed its memory
            digest, size_bytes = _hash(partial), _settle(partial)
            path = partial.rename(folder / f"{digest}{request.suffix}")
        finally:
            _remove(partial)
        manifest = {
            "file": path.name,
            "sha256": digest,
            "size_bytes": size_bytes,
            "made_ns": made_ns,
            "peak_rss_bytes": peak_rss_bytes,
            "request": request.facts,
            "facts": facts,
        }
        _write(folder / _MANIFEST, json.dumps(manifest, indent=2) + "\n")
        return Entry(path, digest, size_bytes, made_ns, peak_rss_bytes, dict(facts), cached=False)
