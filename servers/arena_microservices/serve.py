"""The gateway: detects, and asks the classifier for every crop. Imports nothing of nightbench."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
import uvloop

sys.path.append(str(Path(__file__).parents[1] / "arena_common"))  # isolated mode leaves it out
from flow import Flow, Model, in_thread
from front import arguments, serve
from stages import crop_side, load

STARTS_WITHIN_S = 60.0
ANSWERS_WITHIN_S = 30.0
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Nobody listens when the gateway starts. By default gRPC tries again after a second, and cold starts would show it.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]


def remote(ask: Callable[..., Awaitable[bytes]]) -> Model:
    async def classify(crops: np.ndarray) -> np.ndarray:
        return np.frombuffer(await ask(crops.tobytes(), timeout=ANSWERS_WITHIN_S), "<f4").reshape(len(crops), -1)

    return classify


async def main(args: argparse.Namespace) -> None:
    detect = in_thread(load(args.artifact, "detect", args.threads, args.load_time))
    async with grpc.aio.insecure_channel(args.classifier, CHANNEL) as channel:
        await asyncio.wait_for(channel.channel_ready(), STARTS_WITHIN_S)
        ask = channel.unary_unary("/arena.Classifier/Classify")  # bytes in, bytes out
        await serve(Flow(detect, remote(ask), crop_side(args.artifact), args.join_crops), args)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--classifier", required=True)
    uvloop.run(main(parser.parse_args()))
