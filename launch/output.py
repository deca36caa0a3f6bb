"""What a program says, line by line as it says it."""

import os
import select
from collections.abc import Callable, Iterator
from typing import IO

from nightbench.stopping import Stopped

__all__ = ["lines_of"]

_POLL_S = 0.2
_READ_BYTES = 64 * 1024


def lines_of(stream: IO[bytes], should_stop: Callable[[], bool], stopped: str) -> Iterator[str]:
    """Its lines until it is closed; `Stopped`, saying ``stopped``, soon after ``should_stop`` turns true."""
    rest = b""
    while True:
        if should_stop():
            raise Stopped(stopped)
        if not select.select([stream], [], [], _POLL_S)[0]:
            continue
        data = os.read(stream.fileno(), _READ_BYTES)
        *lines, rest = (rest + data).split(b"\n")
        yield from (f"{line.decode(errors='replace')}\n" for line in lines)
        if not data:
            break
    if rest:
        yield rest.decode(errors="replace")
