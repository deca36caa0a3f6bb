"""The log of one deployment, as far as a record or a person needs it."""

import re
from pathlib import Path

__all__ = ["log_tail", "readable"]

_TAIL_BYTES = 64 * 1024
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# A database refuses NUL in text, and other control characters upset terminals.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def readable(text: str) -> str:
    """``text`` without colours and control characters."""
    return _CONTROL.sub("", _ESCAPES.sub("", text))


def log_tail(path: Path, lines: int = 20) -> str:
    """The last ``lines`` lines that are not blank; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    kept = [line.rstrip() for line in readable(text.replace("\r", "\n")).splitlines() if line.strip()]
    return "\n".join(kept[-lines:])
