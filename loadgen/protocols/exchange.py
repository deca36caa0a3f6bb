"""One request and its answer on a connection of its own, waited for: what is asked outside the timed run."""

import socket
import time
from typing import Any

from loadgen.wire.base import Reply, Wire
from nightbench.samples import Outcome

__all__ = ["exchange"]

_RECEIVE_BYTES = 64 * 1024


def exchange(wire: Wire, request: Any, host: str, port: int, timeout_s: float) -> Reply:
    """Send ``request`` over a fresh ``wire``. A bad server is a reply, never an exception."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout_s) as sock:
            wire.begin(request)
            while (left_s := deadline - time.monotonic()) > 0:
                sock.settimeout(left_s)
                for part in wire.output():
                    sock.sendall(part)
                data = sock.recv(_RECEIVE_BYTES)
                reply = wire.feed(data) if data else wire.end()
                if reply is not None:
                    return reply
            return Reply(Outcome.TIMEOUT, b"", f"no answer within {timeout_s:g} s")
    except TimeoutError:
        return Reply(Outcome.TIMEOUT, b"", f"no answer within {timeout_s:g} s")
    except ConnectionRefusedError:
        return Reply(Outcome.REFUSED, b"", "connection refused")
    except OSError as error:
        return Reply(Outcome.RESET, b"", error.strerror or str(error))
