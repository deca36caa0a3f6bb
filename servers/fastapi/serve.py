"""TorchScript, or an archive of `torch.export`, behind FastAPI.

Runs in this folder's own environment and imports nothing of nightbench.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.requests import ClientDisconnect

sys.path.append(str(Path(__file__).parent))  # isolated mode leaves it out
from batching import Batcher

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


def load(artifact: str, threads: int, device: str) -> Model:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    # fp32 is fp32: TensorFloat-32 is PyTorch's default for convolutions, and leaves every tolerance.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    model = exported(artifact, device) if artifact.endswith(".pt2") else torch.jit.load(artifact, map_location=device)

    def placed(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    send = torch.from_numpy if device == "cpu" else placed

    def predict(inputs: list[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            answer = model(*map(send, inputs))
        return [tensor.cpu().numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]

    return predict


def exported(artifact: str, device: str) -> torch.nn.Module:
    program = torch.export.load(artifact)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


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


def exposition(batcher: Batcher) -> str:
    """What was answered, in Prometheus' text format."""
    counts = batcher.counts
    lines = (
        ("requests", "Predictions answered.", counts.requests),
        ("inferences", "Predictions answered, a batch counting as its rows.", counts.rows),
        ("executions", "Calls of the model that answered them.", counts.executions),
    )
    return "".join(
        f"# HELP predict_{name}_total {text}\n# TYPE predict_{name}_total counter\npredict_{name}_total {value}\n"
        for name, text, value in lines
    )


def application(batcher: Batcher, signature: dict) -> FastAPI:
    inputs, outputs = Layout(signature["inputs"]), Layout(signature["outputs"])
    app = FastAPI(openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(exposition(batcher), media_type="text/plain; version=0.0.4")

    @app.post("/v1/predict")
    async def predict(request: Request) -> Response:
        try:
            batch = expected_batch(request, inputs.item_bytes)
            body = await read(request, batch * inputs.item_bytes)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), status_code=400)
        except ClientDisconnect:
            return Response(status_code=400)
        arrays = await asyncio.wrap_future(batcher.submit(inputs.views(body, batch)))
        return Response(outputs.body(arrays), media_type="application/octet-stream")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--signature", required=True, type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    parser.add_argument("--max-concurrency", default=1, type=int)
    parser.add_argument("--max-batch-size", default=1, type=int)
    parser.add_argument("--batch-timeout-ms", default=0.0, type=float)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    started = time.monotonic_ns()
    model = load(args.artifact, args.threads, args.device)
    args.load_time.write_text(str(time.monotonic_ns() - started), encoding="ascii")

    # OpenMP keeps its thread count per calling thread, so each of the batcher's is told as well.
    batcher = Batcher(
        model,
        args.max_batch_size,
        args.batch_timeout_ms / 1e3,
        args.max_concurrency,
        begin=lambda: torch.set_num_threads(args.threads),
    )
    uvicorn.run(
        application(batcher, json.loads(args.signature.read_text(encoding="utf-8"))),
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
