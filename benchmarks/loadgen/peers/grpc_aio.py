"""grpc.aio: one channel, bytes without protobuf."""

import asyncio

from grpc import aio

from benchmarks.loadgen.peers.counting import GRPC_PATH, Count, Load, looped, report

__all__ = ["measure"]


async def _run(load: Load) -> Count:
    async with aio.insecure_channel(f"127.0.0.1:{load.port}") as channel:
        method, body = channel.unary_unary(GRPC_PATH), bytes(load.body_bytes)
        return await looped(lambda: method(body), load)


def measure(load: Load) -> Count:
    return asyncio.run(_run(load))


if __name__ == "__main__":
    report(measure)
