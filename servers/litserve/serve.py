"""TorchScript behind LitServe. Runs in this folder's own environment and imports nothing of nightbench."""

import argparse
import json
import os
import time
from ctypes import c_uint64
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import Depends, Request, Response
from fastapi.responses import PlainTextResponse
from litserve import LitAPI, LitServer
from starlette.requests import ClientDisconnect

MAX_BATCH = 4096
Arrays = list[np.ndarray]


class Refused(Exception):
    """A request that does not fit the model, in one sentence for its sender."""


class Layout:
    """The tensors of a body: one after the other, batch axis first, little-endian, C order."""

    def __init__(self, tensors: list[dict]) -> None:
        self.tensors = [(np.dtype(t["dtype"]), tuple(t["shape"])) for t in tensors]
        self.item_bytes = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in self.tensors)

    def views(self, body: bytearray) -> Arrays:
        """The arrays inside ``body``, without a copy."""
        arrays, at, batch = [], 0, len(body) // self.item_bytes
        for dtype, shape in self.tensors:
            count = batch * int(np.prod(shape))
            arrays.append(np.frombuffer(body, dtype, count, at).reshape(batch, *shape))
            at += count * dtype.itemsize
        return arrays

    def body(self, arrays: Arrays) -> bytes:
        pairs = zip(arrays, self.tensors, strict=True)
        return b"".join(np.ascontiguousarray(array, dtype).data for array, (dtype, _) in pairs)


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


async def bare_body(request: Request) -> bytearray:
    """The whole body in one writable buffer, so that tensors can lie inside it."""
    item_bytes = request.app.state.item_bytes
    body, at = bytearray(expected_batch(request, item_bytes) * item_bytes), 0
    async for chunk in request.stream():
        body[at : at + len(chunk)] = chunk
        at += len(chunk)
    return body


class Counts:
    """What the workers did, in memory they share with the HTTP server: a slot for each, which it alone writes."""

    def __init__(self, workers: int) -> None:
        self.inferences, self.executions = RawArray(c_uint64, workers), RawArray(c_uint64, workers)

    def add(self, inferences: int) -> None:
        """One execution, by the worker this is called in."""
        worker = int(os.environ["LITSERVE_WORKER_ID"])
        self.inferences[worker] += inferences
        self.executions[worker] += 1

    def exposition(self) -> str:
        """All of it in Prometheus' text format."""
        lines = (
            ("inferences", "Predictions answered, a batch counting as its rows.", sum(self.inferences)),
            ("executions", "Calls of the model that answered them.", sum(self.executions)),
        )
        return "".join(
            f"# HELP predict_{name}_total {text}\n# TYPE predict_{name}_total counter\npredict_{name}_total {value}\n"
            for name, text, value in lines
        )


class Predict(LitAPI):
    """LitServe calls ``setup`` and all below it in a worker process."""

    def __init__(self, args: argparse.Namespace, signature: dict) -> None:
        super().__init__(max_batch_size=args.max_batch_size, batch_timeout=args.batch_timeout, api_path="/v1/predict")
        self.args, self.counts = args, Counts(args.workers_per_device)
        self.inputs, self.outputs = Layout(signature["inputs"]), Layout(signature["outputs"])

    def setup(self, device: str) -> None:
        import torch  # in the workers only

        torch.set_num_threads(self.args.threads)
        torch.set_num_interop_threads(1)
        started = time.monotonic_ns()
        self.torch = torch
        self.model = torch.jit.load(self.args.artifact, map_location=device).eval()
        took_ns = time.monotonic_ns() - started
        mine = self.args.load_time.with_suffix(f".{os.getpid()}")
        mine.write_text(str(took_ns), encoding="ascii")
        mine.replace(self.args.load_time)  # workers share the path: never a half-written number

    # LitServe hands the annotation to FastAPI; a plain Request it would parse as JSON or a form.
    def decode_request(self, request: Annotated[bytearray, Depends(bare_body)]) -> Arrays:
        return self.inputs.views(request)

    def predict(self, arrays: Arrays) -> Arrays:
        with self.torch.inference_mode():
            answer = self.model(*map(self.torch.from_numpy, arrays))
        self.counts.add(len(arrays[0]))
        return [tensor.numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]

    def encode_response(self, output: Arrays) -> Response:
        return Response(self.outputs.body(output), media_type="application/octet-stream")


class PredictJoined(Predict):
    """With batching on, LitServe joins requests before ``predict``; with it off, it warns of these hooks."""

    def batch(self, inputs: list[Arrays], context: list[dict]) -> Arrays:
        for arrays, each in zip(inputs, context, strict=True):
            each["items"] = len(arrays[0])
        return [np.concatenate(parts) for parts in zip(*inputs, strict=True)]

    def unbatch(self, output: Arrays, context: list[dict]) -> list[Arrays]:
        ends = np.cumsum([each["items"] for each in context])
        return [list(parts) for parts in zip(*(np.split(array, ends[:-1]) for array in output), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--signature", required=True, type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    parser.add_argument("--max-batch-size", default=1, type=int)
    parser.add_argument("--batch-timeout", default=0.0, type=float)
    parser.add_argument("--workers-per-device", default=1, type=int)
    args = parser.parse_args()

    kind = PredictJoined if args.max_batch_size > 1 else Predict
    model = kind(args, json.loads(args.signature.read_text(encoding="utf-8")))
    server = LitServer(
        model,
        accelerator="cpu",
        workers_per_device=args.workers_per_device,
        healthcheck_path="/healthz",
        disable_openapi_url=True,
    )
    server.uvicorn_graceful_timeout = 2
    server.app.state.item_bytes = model.inputs.item_bytes

    @server.app.get("/metrics")
    async def metrics() -> Response:
        return Response(model.counts.exposition(), media_type="text/plain; version=0.0.4")

    @server.app.exception_handler(Refused)
    async def refuse(_: Request, refusal: Refused) -> Response:
        return PlainTextResponse(str(refusal), status_code=400)

    @server.app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)

    server.run(
        host=args.host,
        port=args.port,
        log_level="warning",
        generate_client_file=False,
        http="httptools",
        ws="none",
        access_log=False,
        timeout_keep_alive=600,
    )


if __name__ == "__main__":
    main()
