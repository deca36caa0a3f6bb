"""One machine, one experiment: two runs at once would measure each other."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nightbench.stopping import Stopped

__all__ = ["exclusive"]

_POLL_S = 0.5


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None], should_stop: Callable[[], bool]) -> Iterator[None]:
    """Hold this machine's measuring lock for the block, waiting for whoever holds it now.

    The lock is the operating system's on the file at ``path``, which any user may open: a killed holder gives it up.
    ``on_wait`` is called once if it is taken; `Stopped` is raised when ``should_stop`` turns true before it is free.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o444)
    try:
        waiting = False
        while not _taken(descriptor):
            if not waiting:
                on_wait()
            waiting = True
            if should_stop():
                raise Stopped("stopped while waiting for another run on this machine to end")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
