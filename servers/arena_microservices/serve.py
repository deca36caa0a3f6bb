"""The gateway: detects, and asks the classifier for every crop. Imports nothing of nightbench."""

import argparse
import asyncio
import sys
from pathlib import Path

import grpc
import numpy as np
import uvloop

sys.path.append(str(Path(__file__).parents[1] / "arena_common"))  # isolated mode leaves it out
from flow import Flow, in_thread
from front import arguments, serve
from stages import crop_side, load

STARTS_WITHIN_S = 60.0
UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


async def main(args: argparse.Namespace) -> None:
    detect = in_thread(load(args.artifact, "detect", args.threads, args.load_time))
    async with grpc.aio.insecure_channel(args.classifier, UNBOUNDED) as channel:
        await asyncio.wait_for(channel.channel_ready(), STARTS_WITHIN_S)
        ask = channel.unary_unary("/arena.Classifier/Classify")  # bytes in, bytes out

        async def classify(crops: np.ndarray) -> np.ndarray:
            return np.frombuffer(await ask(crops.tobytes()), "<f4").reshape(len(crops), -1)

        await serve(Flow(detect, classify, crop_side(args.artifact), args.join_crops), args)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--classifier", required=True)
    uvloop.run(main(parser.parse_args()))
