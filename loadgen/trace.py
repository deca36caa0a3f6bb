"""Recorded arrivals, read from a file."""

import json
import math
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightbench.errors import UsageError
from nightbench.load import Trace

__all__ = ["read_trace", "trace_of"]

_LIMIT_BYTES = 64 * 2**20


def trace_of(path: Path) -> Trace:
    """The trace in a file, by name and content; `UsageError` if it cannot be read as one."""
    content = _content(path)
    _offsets(path, content)
    return Trace(str(path), sha256(content).hexdigest())


def read_trace(trace: Trace | Path) -> NDArray[np.float64]:
    """Arrivals in seconds, ascending, at least two of them and not all at one time.

    A file holds an offset in seconds a line; what follows a ``#`` is a comment, and empty lines mean nothing. A line
    may as well be a JSON object whose ``timestamp`` is in milliseconds, as in the traces of Mooncake (Qin et al.,
    FAST 2025), which AIPerf and GuideLLM replay too; its other fields say what was asked, and are not looked at.

    `UsageError` names the file, the line and the value that is wrong, and says when a `Trace` has changed since it
    was named.
    """
    path = Path(trace.path) if isinstance(trace, Trace) else trace
    content = _content(path)
    if isinstance(trace, Trace) and sha256(content).hexdigest() != trace.sha256:
        raise UsageError(f"trace {path}: the file has changed since it was planned; plan the run again")
    return _offsets(path, content)


def _content(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        # A device or a pipe may never end.
        content = path.read_bytes() if path.is_file() and size_bytes <= _LIMIT_BYTES else None
    except OSError as error:
        raise UsageError(f"trace {path}: cannot be read: {error.strerror or error}") from error
    if content is None:
        raise UsageError(f"trace {path}: cannot be read: give a file of at most {_LIMIT_BYTES} bytes")
    return content


def _offsets(path: Path, content: bytes) -> NDArray[np.float64]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"trace {path}: not a text file; give one offset in seconds a line") from error
    found: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry.startswith("{"):
            entry = entry.partition("#")[0].strip()
        if not entry:
            continue
        at_s = _seconds(entry)
        where = f"trace {path}, line {number}"
        if at_s is None:
            raise UsageError(
                f"{where}: {_shown(entry)} is neither an offset in seconds, 0 or more, nor a JSON object whose "
                "timestamp is in milliseconds"
            )
        if found and at_s < found[-1]:
            raise UsageError(f"{where}: {_shown(entry)} is earlier than the line before; sort the file")
        found.append(at_s)
    if len(found) < 2 or found[-1] == found[0]:
        raise UsageError(f"trace {path}: has {len(found)} arrivals and needs at least two, at different times")
    return np.array(found, dtype=np.float64)


def _seconds(entry: str) -> float | None:
    """What a line says, or ``None`` where that is no time."""
    try:
        if entry.startswith("{"):
            stamp = json.loads(entry)["timestamp"]
            if isinstance(stamp, bool) or not isinstance(stamp, int | float):
                return None
            at_s = stamp / 1e3
        else:
            at_s = float(entry)
    except (ValueError, KeyError, OverflowError, RecursionError):
        return None
    return at_s if math.isfinite(at_s) and at_s >= 0.0 else None


def _shown(entry: str) -> str:
    return repr(entry if len(entry) <= 60 else f"{entry[:60]}...")
