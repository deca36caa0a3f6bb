"""tritonclient.grpc.aio: one client, protobuf messages."""

import asyncio

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

from benchmarks.loadgen.peers.looping import Load, looped, program

__all__ = ["send"]


async def _run(load: Load) -> None:
    values = np.zeros((1, load.body_bytes // 4), np.float32)
    async with InferenceServerClient(f"127.0.0.1:{load.port}") as client:

        async def request() -> None:
            tensor = InferInput("x", list(values.shape), "FP32")
            tensor.set_data_from_numpy(values)
            await client.infer("null", [tensor])

        await looped(request, load)


def send(load: Load) -> None:
    asyncio.run(_run(load))


if __name__ == "__main__":
    program(send)
