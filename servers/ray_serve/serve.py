"""TorchScript behind Ray Serve. Runs in this folder's own environment and imports nothing of nightbench."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import ray
from ray import serve
from ray._private import parameter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

MAX_BATCH = 4096
OBJECT_STORE_BYTES = 256 * 2**20
LOOPBACK = "127.0.0.1"
Model = Callable[[list[np.ndarray]], list[np.ndarray]]


class Refused(Exception):
    """A request that does not fit the model, in one sentence for its sender."""


class Layout:
    """The tensors of a body: one after the other, batch axis first, little-endian, C order."""

    def __init__(self, tensors: list[dict]) -> None:
        self.tensors = [(np.dtype(t["dtype"]), tuple(t["shape"])) for t in tensors]
        self.item_bytes = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in self.tensors)

    def views(self, body: bytearray, batch: int) -> list[np.ndarray]:
        """The arrays inside ``body``, without a copy."""
        arrays, at = [], 0
        for dtype, shape in self.tensors:
            count = batch * int(np.prod(shape))
            arrays.append(np.frombuffer(body, dtype, count, at).reshape(batch, *shape))
            at += count * dtype.itemsize
        return arrays

    def body(self, arrays: list[np.ndarray]) -> bytes:
        pairs = zip(arrays, self.tensors, strict=True)
        return b"".join(np.ascontiguousarray(array, dtype).data for array, (dtype, _) in pairs)


def load(artifact: str, threads: int) -> Model:
    import torch  # in the replica alone: the driver and the proxy have no use for it

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    model = torch.jit.load(artifact, map_location="cpu").eval()

    def predict(inputs: list[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            answer = model(*map(torch.from_numpy, inputs))
        return [tensor.numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]

    return predict


def joined(model: Model, requests: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """Run the model once for all requests, and cut its outputs apart."""
    if len(requests) == 1:
        return [model(requests[0])]
    outputs = model([np.concatenate(column) for column in zip(*requests, strict=True)])
    ends = np.cumsum([len(arrays[0]) for arrays in requests])[:-1]
    return [list(parts) for parts in zip(*(np.split(output, ends) for output in outputs), strict=True)]


def expected_batch(request: Request, item_bytes: int) -> int:
    """The batch size the headers promise, before a byte of the body is kept."""
    if (kind := request.headers.get("content-type")) != "application/octet-stream":
        raise Refused(f"Content-Type is {kind!r}; send application/octet-stream")
    text = request.headers.get("x-batch", "")
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MAX_BATCH:
        raise Refused(f"X-Batch is {text!r}; send a whole number from 1 to {MAX_BATCH}")
    length, batch = request.headers.get("content-length", "none"), int(text)
    if length != str(batch * item_bytes):
        raise Refused(f"Content-Length is {length}; a batch of {batch} has {batch * item_bytes} bytes")
    return batch


async def read(request: Request, size: int) -> bytearray:
    """The whole body in one writable buffer, so that tensors can lie inside it."""
    body, at = bytearray(size), 0
    async for chunk in request.stream():
        body[at : at + len(chunk)] = chunk
        at += len(chunk)
    return body


class Replica:
    """One copy of the model; Ray Serve starts as many as it is told to."""

    def __init__(self, args: argparse.Namespace, signature: dict) -> None:
        import torch  # before the clock starts

        if args.host == LOOPBACK:
            stay_on_loopback()
        started = time.monotonic_ns()
        self.model = load(args.artifact, args.threads)
        took_ns = time.monotonic_ns() - started
        mine = args.load_time.with_suffix(f".{os.getpid()}")
        mine.write_text(str(took_ns), encoding="ascii")
        mine.replace(args.load_time)  # replicas share the path: never a half-written number
        self.inputs, self.outputs = Layout(signature["inputs"]), Layout(signature["outputs"])
        # OpenMP keeps its thread count per calling thread, so the pool's is told as well.
        self.pool = ThreadPoolExecutor(1, "model", torch.set_num_threads, (args.threads,))
        size, wait_s = args.max_batch_size, args.batch_wait_timeout_s
        batched = serve.batch(self.together, max_batch_size=size, batch_wait_timeout_s=wait_s)
        self.predict = self.alone if size == 1 else batched

    async def __call__(self, request: Request) -> Response:
        if (request.method, request.url.path) == ("GET", "/healthz"):
            return PlainTextResponse("ok")
        if (request.method, request.url.path) != ("POST", "/v1/predict"):
            return PlainTextResponse("there is only POST /v1/predict", status_code=404)
        try:
            batch = expected_batch(request, self.inputs.item_bytes)
            body = await read(request, batch * self.inputs.item_bytes)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), status_code=400)
        except ClientDisconnect:
            return Response(status_code=400)
        arrays = await self.predict(self.inputs.views(body, batch))
        return Response(self.outputs.body(arrays), media_type="application/octet-stream")

    async def alone(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return await asyncio.get_running_loop().run_in_executor(self.pool, self.model, arrays)

    async def together(self, requests: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        return await asyncio.get_running_loop().run_in_executor(self.pool, joined, self.model, requests)


def stay_on_loopback() -> None:
    """Have this replica's gRPC server, which asks nobody who they are, listen there and not everywhere.

    In a container that is for its network to see to: Ray's proxy asks its replicas at the container's own address.
    """
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: add_port(server, address.replace("[::]", LOOPBACK))


def short(folder: Path) -> Path:
    """A short name of our working directory, good while we live.

    Ray puts Unix sockets some 60 bytes deep into its directory, and their names must fit into 107.
    """
    alias = Path(f"/proc/{os.getpid()}/cwd")
    os.chdir(folder)
    return alias if alias.exists() else folder


def end(number: int, frame: FrameType | None) -> None:
    """Leave in peace, once: Ray takes a second signal badly."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--signature", required=True, type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    parser.add_argument("--workdir", required=True, type=Path)
    parser.add_argument("--metrics-port", required=True, type=int)
    parser.add_argument("--num-replicas", default=1, type=int)
    parser.add_argument("--max-ongoing-requests", default=100, type=int)
    parser.add_argument("--max-batch-size", default=1, type=int)
    parser.add_argument("--batch-wait-timeout-s", default=0.0, type=float)
    args = parser.parse_args()

    replica = serve.deployment(
        Replica,
        num_replicas=args.num_replicas,
        max_ongoing_requests=args.max_ongoing_requests,
        ray_actor_options={"num_cpus": 1},
    )
    signature = json.loads(args.signature.read_text(encoding="utf-8"))
    # It would be 52365 for every Ray of this machine, and `ray.init` has no word for it.
    parameter.RayParams = partial(parameter.RayParams, dashboard_agent_listen_port=0)
    try:
        ray.init(
            # Ray starts a process for each of these at once: no more than there will be replicas.
            num_cpus=args.num_replicas,
            num_gpus=0,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            logging_level="warning",
            _metrics_export_port=args.metrics_port,
            _temp_dir=str(short(args.workdir) / "ray"),
        )
        signal.signal(signal.SIGTERM, end)
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": args.host, "port": args.port, "keep_alive_timeout_s": 600},
            logging_config=quiet,
        )
        serve.run(replica.bind(args, signature), logging_config=quiet)
        while True:
            signal.pause()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ray.shutdown()


if __name__ == "__main__":
    main()
