"""OpenVINO behind FastAPI. Runs in this folder's own environment and imports nothing of nightbench."""

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.requests import ClientDisconnect

# Importing OpenVINO alone would send its makers an event; without this package it has nothing to send with.
sys.modules["openvino_telemetry"] = None
openvino = import_module("openvino")

MAX_BATCH = 4096
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


def properties(args: argparse.Namespace) -> dict[str, object]:
    """OpenVINO's settings of the CPU, by its own names. A hint would only second-guess a number of streams."""
    hint = {"PERFORMANCE_HINT": args.performance_hint.upper()}
    return {
        "INFERENCE_NUM_THREADS": args.threads,
        # Left to itself it takes bfloat16 where the CPU has it, and its answers leave every tolerance.
        "INFERENCE_PRECISION_HINT": "f32",
        # Where a server may run is the launcher's business; pinned, two servers would meet on one core.
        "ENABLE_CPU_PINNING": False,
        **({"NUM_STREAMS": args.num_streams} if args.num_streams else hint),
    }


def load(artifact: Path, signature: dict, args: argparse.Namespace) -> Model:
    core = openvino.Core()
    graph = artifact / "model.xml" if artifact.is_dir() else artifact
    compiled = core.compile_model(core.read_model(graph), "CPU", properties(args))
    names = [tensor["name"] for tensor in signature["inputs"]]
    wanted = [compiled.output(tensor["name"]) for tensor in signature["outputs"]]
    own = threading.local()  # a request object holds one prediction at a time

    def predict(inputs: list[np.ndarray]) -> list[np.ndarray]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        # Inputs are read where they lie; outputs are copied, since the next prediction overwrites them.
        answer = own.request.infer(dict(zip(names, inputs, strict=True)), share_inputs=True)
        return [answer[output] for output in wanted]

    return predict


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


def application(model: Model, signature: dict, pool: ThreadPoolExecutor) -> FastAPI:
    inputs, outputs = Layout(signature["inputs"]), Layout(signature["outputs"])
    app = FastAPI(openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.post("/v1/predict")
    async def predict(request: Request) -> Response:
        try:
            batch = expected_batch(request, inputs.item_bytes)
            body = await read(request, batch * inputs.item_bytes)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), status_code=400)
        except ClientDisconnect:
            return Response(status_code=400)
        loop = asyncio.get_running_loop()
        arrays = await loop.run_in_executor(pool, model, inputs.views(body, batch))
        return Response(outputs.body(arrays), media_type="application/octet-stream")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", required=True, type=Path)
    parser.add_argument("--signature", required=True, type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    parser.add_argument("--max-concurrency", default=1, type=int)
    parser.add_argument("--num-streams", default=1, type=int)
    parser.add_argument("--performance-hint", default="latency", choices=("latency", "throughput"))
    args = parser.parse_args()
    signature = json.loads(args.signature.read_text(encoding="utf-8"))

    started = time.monotonic_ns()
    model = load(args.artifact, signature, args)
    args.load_time.write_text(str(time.monotonic_ns() - started), encoding="ascii")

    uvicorn.run(
        application(model, signature, ThreadPoolExecutor(args.max_concurrency, "model")),
        host=args.host,
        port=args.port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=600,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
