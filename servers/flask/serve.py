"""TorchScript behind Flask and gunicorn. Runs in this folder's own environment, imports nothing of nightbench."""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flask import Flask, Request, Response, request
from gunicorn.app.base import BaseApplication

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


def load(artifact: str, threads: int) -> Model:
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    model = torch.jit.load(artifact, map_location="cpu").eval()

    def predict(inputs: list[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            answer = model(*map(torch.from_numpy, inputs))
        return [tensor.numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]

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


def read(request: Request, size: int) -> bytearray:
    """The whole body in one writable buffer, so that tensors can lie inside it."""
    body, at = bytearray(size), 0
    while at < size and (chunk := request.stream.read(size - at)):
        body[at : at + len(chunk)] = chunk
        at += len(chunk)
    if at < size:
        raise Refused(f"the body ended {size - at} bytes early")
    return body


def application(model: Model, signature: dict) -> Flask:
    inputs, outputs = Layout(signature["inputs"]), Layout(signature["outputs"])
    app = Flask("serve", static_folder=None)

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok", mimetype="text/plain")

    @app.post("/v1/predict")
    def predict() -> Response:
        try:
            batch = expected_batch(request, inputs.item_bytes)
            body = read(request, batch * inputs.item_bytes)
        except Refused as refusal:
            while request.stream.read(1 << 20):  # gunicorn closes a connection whose body is left unread
                pass
            return Response(str(refusal), status=400, mimetype="text/plain")
        arrays = model(inputs.views(body, batch))
        return Response(outputs.body(arrays), mimetype="application/octet-stream")

    return app


class Server(BaseApplication):
    """gunicorn set up from the command line. Each worker loads the model itself, after the fork."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": f"{self.args.host}:{self.args.port}",
            "workers": self.args.gunicorn_workers,
            "threads": self.args.gunicorn_threads,
            # The sync worker closes every connection; gthread keeps them alive, as the other servers do.
            "worker_class": "gthread",
            "keepalive": 600,
            # A model may take longer to load than any heartbeat; hangs are for the load engine to see.
            "timeout": 0,
            "graceful_timeout": 2,
            "worker_tmp_dir": str(self.args.load_time.parent),
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        import torch  # noqa: F401 - in the worker, since its threads survive no fork; before the clock starts

        started = time.monotonic_ns()
        model = load(self.args.artifact, self.args.threads)
        took_ns = time.monotonic_ns() - started
        mine = self.args.load_time.with_suffix(f".{os.getpid()}")
        mine.write_text(str(took_ns), encoding="ascii")
        mine.replace(self.args.load_time)  # workers share the path: never a half-written number
        return application(model, json.loads(self.args.signature.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--signature", required=True, type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    parser.add_argument("--gunicorn-workers", default=1, type=int)
    parser.add_argument("--gunicorn-threads", default=1, type=int)
    Server(parser.parse_args()).run()


if __name__ == "__main__":
    main()
