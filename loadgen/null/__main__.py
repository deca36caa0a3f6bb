"""``python -m loadgen.null http1|grpc ANSWER [--cpus 0,1]``: serve one ready-made answer on a port of the loopback.

The port is the first line of standard output. It serves until standard input ends, so it dies with its parent; each
line that comes there is answered with the processor time used so far, in nanoseconds. Nothing but the standard
library is imported: a client is measured against it, and it shall cost less than the client.
"""

import argparse
import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from loadgen.null.grpc import GrpcAnswer, GrpcSide
from loadgen.null.http1 import Http1Side
from loadgen.null.loop import serve
from loadgen.null.pieces import read_pieces
from loadgen.null.side import Side

__all__ = ["main"]

_BACKLOG = 1024


def _sides(speaks: str, answer: Path) -> Callable[[], Side]:
    pieces = read_pieces(answer)
    if speaks == "http1":
        return lambda: Http1Side(pieces)
    (message,) = pieces
    ready = GrpcAnswer(message)
    return lambda: GrpcSide(ready)


def _say(number: int) -> None:
    print(number, flush=True)


def _on_control() -> bool:
    asked = os.read(sys.stdin.fileno(), 1024)
    for _ in range(asked.count(b"\n")):
        _say(time.process_time_ns())
    return bool(asked)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadgen.null", description="Answer every request alike, at once.")
    parser.add_argument("speaks", choices=("http1", "grpc"))
    parser.add_argument("answer", type=Path, help="a file of loadgen.null.pieces")
    parser.add_argument("--cpus", help="logical processors to run on, such as 0,1")
    arguments = parser.parse_args()
    try:
        sides = _sides(arguments.speaks, arguments.answer)
        if arguments.cpus:
            os.sched_setaffinity(0, [int(cpu) for cpu in arguments.cpus.split(",")])
    except (OSError, ValueError) as error:
        sys.exit(f"null server: {error}")
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        _say(listener.getsockname()[1])
        # Nothing here makes cycles.
        gc.disable()
        serve(listener, sides, _on_control)


if __name__ == "__main__":
    main()
