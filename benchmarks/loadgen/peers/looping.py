"""What every peer does: keep a number of requests in flight for some seconds. It is measured from outside."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["GRPC_PATH", "Load", "looped", "program"]

GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Load:
    """What a peer is asked to do, to 127.0.0.1."""

    port: int
    body_bytes: int
    concurrency: int
    seconds: float


async def looped(request: Callable[[], Awaitable[object]], load: Load) -> None:
    """``request`` again and again in concurrent coroutines."""

    async def work() -> None:
        while time.monotonic() < end:
            await request()

    end = time.monotonic() + load.seconds
    await asyncio.gather(*(work() for _ in range(load.concurrency)))


def program(send: Callable[[Load], None]) -> None:
    """A peer's arguments are the fields of `Load`."""
    port, body_bytes, concurrency, seconds = sys.argv[1:]
    send(Load(int(port), int(body_bytes), int(concurrency), float(seconds)))
