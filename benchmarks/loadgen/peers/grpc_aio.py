"""grpc.aio: one channel, bytes without protobuf."""

import asyncio

from grpc import aio

from benchmarks.loadgen.peers.looping import GRPC_PATH, Load, looped, program

__all__ = ["send"]


async def _run(load: Load) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{load.port}") as channel:
        method, body = channel.unary_unary(GRPC_PATH), bytes(load.body_bytes)
        await looped(lambda: method(body), load)


def send(load: Load) -> None:
    asyncio.run(_run(load))


if __name__ == "__main__":
    program(send)
