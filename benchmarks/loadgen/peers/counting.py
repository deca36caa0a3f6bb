"""What every peer does: warm up, then keep a number of requests in flight for some seconds, and count.

Processor and wall time run from the first counted request to the last answer, so that neither the interpreter's start
nor imports are in them.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

__all__ = ["GRPC_PATH", "WARM_UP", "Count", "Load", "looped", "report"]

WARM_UP = 50
"""Requests of each of the concurrent loops before counting starts."""
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Load:
    """What a peer is asked to do, to 127.0.0.1."""

    port: int
    body_bytes: int
    concurrency: int
    seconds: float


@dataclass(slots=True)
class Count:
    """What a peer did. The block it opens is what its times cover."""

    requests: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def __enter__(self) -> "Count":
        self.wall_s, self.cpu_s = -time.monotonic(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.monotonic()
        self.cpu_s += time.process_time()


async def looped(request: Callable[[], Awaitable[object]], load: Load) -> Count:
    """``request`` again and again in concurrent coroutines."""

    async def warm() -> None:
        for _ in range(WARM_UP):
            await request()

    async def work() -> None:
        while time.monotonic() < end:
            await request()
            count.requests += 1

    await asyncio.gather(*(warm() for _ in range(load.concurrency)))
    with Count() as count:
        end = time.monotonic() + load.seconds
        await asyncio.gather(*(work() for _ in range(load.concurrency)))
    return count


def report(measure: Callable[[Load], Count]) -> None:
    """The program of a peer: the fields of `Load` as its arguments, `Count` as a line of JSON."""
    port, body_bytes, concurrency, seconds = sys.argv[1:]
    load = Load(int(port), int(body_bytes), int(concurrency), float(seconds))
    print(json.dumps(asdict(measure(load))))
