"""tritonclient.grpc.aio: one client, protobuf messages."""

import asyncio

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

from benchmarks.loadgen.peers.counting import Count, Load, looped, report

__all__ = ["measure"]


async def _run(load: Load) -> Count:
    values = np.zeros((1, load.body_bytes // 4), np.float32)
    async with InferenceServerClient(f"127.0.0.1:{load.port}") as client:

        async def request() -> None:
            tensor = InferInput("x", list(values.shape), "FP32")
            tensor.set_data_from_numpy(values)
            await client.infer("null", [tensor])

        return await looped(request, load)


def measure(load: Load) -> Count:
    return asyncio.run(_run(load))


if __name__ == "__main__":
    report(measure)
