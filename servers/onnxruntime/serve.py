"""ONNX Runtime behind FastAPI. Runs in this folder's own environment and imports nothing of nightbench."""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.requests import ClientDisconnect

MAX_BATCH = 4096
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
MODES = {
    "sequential": onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
    "parallel": onnxruntime.ExecutionMode.ORT_PARALLEL,
}
LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
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


def providers(name: str) -> list[str]:
    """The provider that is asked for, first; SystemExit in one sentence where this build has no such one."""
    wanted, there = PROVIDERS[name], onnxruntime.get_available_providers()
    if wanted not in there:
        raise SystemExit(f"provider {name} is not in this build of ONNX Runtime, which has {', '.join(there)}")
    # TensorRT takes the subgraphs it knows and leaves the rest to the GPU.
    return [wanted, *([PROVIDERS["cuda"]] if name == "tensorrt" else [])]


def session_options(args: argparse.Namespace) -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = args.intra_op_num_threads or args.threads
    settings.inter_op_num_threads = args.inter_op_num_threads
    settings.execution_mode = MODES[args.execution_mode]
    settings.graph_optimization_level = LEVELS[args.graph_optimization_level]
    settings.log_severity_level = 3  # errors only
    return settings


def session(artifact: Path, args: argparse.Namespace) -> onnxruntime.InferenceSession:
    wanted = providers(args.provider)
    opened = onnxruntime.InferenceSession(artifact, session_options(args), providers=wanted)
    # ONNX Runtime falls back to the CPU with a warning, and the figures would carry the wrong name.
    if opened.get_providers()[0] != wanted[0]:
        raise SystemExit(
            f"provider {args.provider} cannot start here, its libraries or its device are missing: "
            f"ONNX Runtime chose {opened.get_providers()[0]}"
        )
    opened.disable_fallback()  # nor later, in the middle of a measurement
    return opened


def load(artifact: Path, signature: dict, args: argparse.Namespace) -> Model:
    names = [tensor["name"] for tensor in signature["inputs"]]
    outputs = [tensor["name"] for tensor in signature["outputs"]]
    if artifact.is_dir():
        return load_stages(artifact, names, outputs, args)
    opened = session(artifact, args)

    def predict(inputs: list[np.ndarray]) -> list[np.ndarray]:
        return opened.run(outputs, dict(zip(names, inputs, strict=True)))

    return predict


def load_stages(folder: Path, names: list[str], outputs: list[str], args: argparse.Namespace) -> Model:
    """A folder of one ONNX file a stage, as its ``stages.json`` tells: each takes what is known by then, by name."""
    described = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
    if not described["linear"]:
        raise SystemExit("the stages of this model are not in a row, one after the other; use a server made for them")
    stages = [
        (
            session(folder / stage["file"], args),
            [tensor["name"] for tensor in stage["inputs"]],
            [tensor["name"] for tensor in stage["outputs"]],
        )
        for stage in described["stages"]
    ]

    def predict(inputs: list[np.ndarray]) -> list[np.ndarray]:
        known = dict(zip(names, inputs, strict=True))
        for stage, taken, given in stages:
            answers = stage.run(given, {name: known[name] for name in taken})
            known.update(zip(given, answers, strict=True))
        return [known[name] for name in outputs]

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
    parser.add_argument("--graph-optimization-level", default="all", choices=LEVELS)
    parser.add_argument("--intra-op-num-threads", default=0, type=int)
    parser.add_argument("--inter-op-num-threads", default=1, type=int)
    parser.add_argument("--execution-mode", default="sequential", choices=MODES)
    parser.add_argument("--provider", default="cpu", choices=PROVIDERS)
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
