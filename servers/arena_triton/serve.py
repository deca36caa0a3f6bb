"""The gateway: asks Triton for both models. Runs in this folder's own environment and imports nothing of nightbench."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import uvloop
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

sys.path.append(str(Path(__file__).parents[1] / "arena_common"))  # isolated mode leaves it out
from flow import Flow, Model
from front import arguments, serve
from stages import crop_side, described

STARTS_WITHIN_S = 90.0
ANSWERS_WITHIN_S = 30.0
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Nobody listens when the gateway starts. By default gRPC tries again after a second, and cold starts would show it.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]
MODELS = ("detect", "classify")
STUB_DIED = "is not healthy"


async def ready(client: InferenceServerClient) -> None:
    """Return once both models are; Triton listens later than the gateway starts."""
    async with asyncio.timeout(STARTS_WITHIN_S):
        for model in MODELS:
            while True:
                try:
                    if await client.is_model_ready(model):
                        break
                except InferenceServerException:
                    pass  # it does not listen yet
                await asyncio.sleep(0.02)


def remote(client: InferenceServerClient, artifact: Path, model: str) -> Model:
    given, told = described(artifact, model)
    wanted = [InferRequestedOutput(told["name"])]

    async def call(array: np.ndarray) -> np.ndarray:
        tensor = InferInput(given["name"], list(array.shape), "FP32")
        tensor.set_data_from_numpy(array)
        try:
            answer = await client.infer(model, [tensor], outputs=wanted, client_timeout=ANSWERS_WITHIN_S)
        except InferenceServerException as error:
            if STUB_DIED in str(error):  # Triton starts no other: it would refuse everything from now on
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
            raise
        return answer.as_numpy(told["name"])

    return call


async def main(args: argparse.Namespace) -> None:
    async with InferenceServerClient(args.triton, channel_args=CHANNEL) as client:
        await ready(client)
        detect, classify = (remote(client, args.artifact, model) for model in MODELS)
        await serve(Flow(detect, classify, crop_side(args.artifact), args.join_crops), args)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--triton", required=True)
    uvloop.run(main(parser.parse_args()))
