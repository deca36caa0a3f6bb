"""Free ports on loopback: chosen by the operating system, or within a range the user gave.

A port is free when chosen and can still be lost before the server listens on it; `launch.process` then tries once
more. Within one process no port is given twice at a time.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from nightbench.errors import DeploymentError, UsageError

__all__ = ["LOOPBACK", "check_port_range", "is_free", "reserve"]

LOOPBACK = "127.0.0.1"

_lock = Lock()
_given: set[int] = set()
_last: dict[tuple[int, int], int] = {}
"""The port last given of each range: the next search begins behind it, so that a port rests between uses."""


def is_free(port: int) -> bool:
    """Whether a server could listen on it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_in(within: tuple[int, int]) -> list[int]:
    first, last = within
    start = _last.get(within, last) + 1
    order = [*range(start, last + 1), *range(first, start)]
    return [port for port in order if port not in _given and is_free(port)]


def _shortage(within: tuple[int, int], free: int, needed: int) -> str:
    first, last = within
    return (
        f"{free} of the ports {first}-{last} {'is' if free == 1 else 'are'} free, but {needed} "
        f"{'is' if needed == 1 else 'are'} needed; end what listens there, or give a wider range"
    )


def check_port_range(within: tuple[int, int] | None, needed: int) -> None:
    """`UsageError` unless ``needed`` ports of the range are free now. No range is always enough."""
    if within is None:
        return
    with _lock:
        free = len(_free_in(within))
    if free < needed:
        raise UsageError(f"environment: NIGHTBENCH_SERVER_PORTS: {_shortage(within, free, needed)}")


def _choose(count: int, within: tuple[int, int] | None) -> list[int]:
    if within is not None:
        free = _free_in(within)
        if len(free) < count:
            raise DeploymentError("no_port", _shortage(within, len(free), count))
        if count:
            _last[within] = free[count - 1]
        return free[:count]
    chosen: list[int] = []
    with ExitStack() as held:
        # Held until all are chosen, or the system would offer the same port again.
        while len(chosen) < count:
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
            if port not in _given:
                chosen.append(port)
    return chosen


@contextmanager
def reserve(count: int, within: tuple[int, int] | None = None) -> Iterator[tuple[int, ...]]:
    """``count`` free ports, given to nobody else in this process until the block ends.

    Raises `DeploymentError` of kind ``no_port`` when the range has too few.
    """
    with _lock:
        ports = _choose(count, within)
        _given.update(ports)
    try:
        yield tuple(ports)
    finally:
        with _lock:
            _given.difference_update(ports)
