"""The classifier: crops as bare float32 in, scores as bare float32 out. Imports nothing of nightbench."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import grpc
import numpy as np
import uvloop

sys.path.append(str(Path(__file__).parents[1] / "arena_common"))  # isolated mode leaves it out
from flow import in_thread
from stages import crop_side, load

UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


async def main(args: argparse.Namespace) -> None:
    model = in_thread(load(args.artifact, "classify", args.threads, args.load_time))
    side = crop_side(args.artifact)

    async def classify(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if not body or len(body) % (crop_bytes := 3 * side * side * 4):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{len(body)} bytes are no crops of {crop_bytes}")
        return (await model(np.frombuffer(body, "<f4").reshape(-1, 3, side, side))).tobytes()

    server = grpc.aio.server(options=[*UNBOUNDED, ("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(classify)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arena.Classifier", {"Classify": handler}),))
    if not server.add_insecure_port(args.address):
        raise SystemExit(f"address {args.address} cannot be listened on")
    await server.start()
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    await server.stop(grace=1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", required=True, type=Path)
    parser.add_argument("--address", required=True)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    uvloop.run(main(parser.parse_args()))
