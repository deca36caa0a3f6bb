"""TorchScript as a BentoML service. Runs in this folder's own environment and imports nothing of nightbench.

Batch items are the rows of a NumPy record array with a field for each tensor: BentoML joins and splits arrays itself.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

ROUTE = "/v1/predict"
MAX_BATCH = 4096


class Arguments(BaseModel):
    """What ``bentoml serve --arg`` was given."""

    artifact: str
    signature: Path
    model_threads: int
    load_time: Path
    workers: int = 1
    threads: int = 1
    batchable: bool = False
    max_batch_size: int = 32
    max_latency_ms: int = 60_000


class Refused(Exception):
    """A request that does not fit the model, in one sentence for its sender."""


def record(tensors: list[dict]) -> np.dtype:
    """One batch item as a NumPy record."""
    return np.dtype([(tensor["name"], tensor["dtype"], tuple(tensor["shape"])) for tensor in tensors])


def to_rows(arrays: list[np.ndarray], row: np.dtype) -> np.ndarray:
    """Tensors as an array of records; a single tensor is not copied."""
    if len(arrays) == 1:
        array = np.ascontiguousarray(arrays[0], row[0].base)
        return array.reshape(len(array), -1).view(row).reshape(len(array))
    rows = np.empty(len(arrays[0]), row)
    for name, array in zip(row.names, arrays, strict=True):
        rows[name] = array
    return rows


def from_rows(rows: np.ndarray) -> list[np.ndarray]:
    """The tensors of an array of records, each contiguous; a single tensor is not copied."""
    return [np.ascontiguousarray(rows[name]) for name in rows.dtype.names]


def views(body: bytearray, batch: int, row: np.dtype) -> list[np.ndarray]:
    """The tensors inside ``body``, one after the other, batch axis first, without a copy."""
    arrays, at = [], 0
    for name in row.names:
        field = row[name]
        array = np.frombuffer(body, field.base, batch * int(np.prod(field.shape)), at)
        arrays.append(array.reshape(batch, *field.shape))
        at += array.nbytes
    return arrays


def expected_batch(headers: Headers, item_bytes: int) -> int:
    """The batch size the headers promise, before a byte of the body is kept."""
    if (kind := headers.get("content-type")) != "application/octet-stream":
        raise Refused(f"Content-Type is {kind!r}; send application/octet-stream")
    text = headers.get("x-batch", "")
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MAX_BATCH:
        raise Refused(f"X-Batch is {text!r}; send a whole number from 1 to {MAX_BATCH}")
    length, batch = headers.get("content-length", "none"), int(text)
    if length != str(batch * item_bytes):
        raise Refused(f"Content-Length is {length}; a batch of {batch} has {batch * item_bytes} bytes")
    return batch


class Gate:
    """ASGI middleware that answers 400 to what the headers rule out: BentoML would log a traceback of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and scope["path"] == ROUTE:
            try:
                expected_batch(Headers(scope=scope), ITEM.itemsize)
            except Refused as refusal:
                app = PlainTextResponse(str(refusal), status_code=400)
        await app(scope, receive, send)


class Inputs(bentoml.IODescriptor):
    """A body that `Gate` let through, as rows. BentoML calls the method with its fields."""

    rows: Any

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> Inputs:
        batch = int(request.headers["x-batch"])
        body, at = bytearray(batch * ITEM.itemsize), 0
        async for chunk in request.stream():
            body[at : at + len(chunk)] = chunk
            at += len(chunk)
        return cls.model_construct(rows=to_rows(views(body, batch, ITEM), ITEM))


class Outputs(bentoml.IODescriptor):
    """Rows as a body."""

    rows: Any

    @classmethod
    async def to_http_response(cls, rows: np.ndarray, serde: Any) -> Response:
        body = b"".join(array.data for array in from_rows(rows))
        return Response(body, media_type="application/octet-stream")


ARGUMENTS = bentoml.use_arguments(Arguments)
SIGNATURE = json.loads(ARGUMENTS.signature.read_text(encoding="utf-8"))
ITEM = record(SIGNATURE["inputs"])
ANSWER = record(SIGNATURE["outputs"])


@bentoml.service(
    workers=ARGUMENTS.workers,
    threads=ARGUMENTS.threads,
    logging={"access": {"enabled": False}},
)
class Predict:
    def __init__(self) -> None:
        import torch  # in the workers only: the supervisor imports this file as well

        torch.set_num_threads(ARGUMENTS.model_threads)
        torch.set_num_interop_threads(1)
        started = time.monotonic_ns()
        self.torch = torch
        self.model = torch.jit.load(ARGUMENTS.artifact, map_location="cpu").eval()
        took_ns = time.monotonic_ns() - started
        mine = ARGUMENTS.load_time.with_suffix(f".{os.getpid()}")
        mine.write_text(str(took_ns), encoding="ascii")
        mine.replace(ARGUMENTS.load_time)  # workers share the path: never a half-written number

    @bentoml.api(
        route=ROUTE,
        input_spec=Inputs,
        output_spec=Outputs,
        batchable=ARGUMENTS.batchable,
        max_batch_size=ARGUMENTS.max_batch_size,
        max_latency_ms=ARGUMENTS.max_latency_ms,
    )
    def predict(self, rows: np.ndarray) -> np.ndarray:
        with self.torch.inference_mode():
            answer = self.model(*map(self.torch.from_numpy, from_rows(rows)))
        answers = answer if isinstance(answer, (tuple, list)) else (answer,)
        return to_rows([tensor.numpy() for tensor in answers], ANSWER)


Predict.add_asgi_middleware(Gate)
