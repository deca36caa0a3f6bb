"""Reading what somebody else may have written, or put a trap in place of."""

import os
import stat
from pathlib import Path

__all__ = ["read_small"]

_MOST_BYTES = 4096


def read_small(path: Path, *, own: bool = False) -> str | None:
    """The text of a small regular file; ``None`` for anything else: a link, a pipe that nobody writes to, more than
    4 KiB, what is no text. With ``own``, it must belong to this user as well. Never waits, never raises."""
    try:
        # What is opened is what is looked at: the name may stand for something else by then.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or (own and facts.st_uid != os.getuid()):
            return None
        read = os.read(descriptor, _MOST_BYTES + 1)
        return read.decode() if len(read) <= _MOST_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
    finally:
        os.close(descriptor)
