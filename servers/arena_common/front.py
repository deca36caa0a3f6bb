"""The HTTP front of every architecture: the raw protocol of `servers/raw_http.py` on one side, a `Flow` on the other.

Runs in the server's own environment and imports nothing of nightbench.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from flow import Flow
from starlette.requests import ClientDisconnect

MAX_BATCH = 4096


class Refused(Exception):
    """A request that does not fit the model, in one sentence for its sender."""


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
    """The whole body in one buffer, so that images can lie inside it."""
    body, at = bytearray(size), 0
    async for chunk in request.stream():
        body[at : at + len(chunk)] = chunk
        at += len(chunk)
    return body


def application(flow: Flow, signature: dict) -> FastAPI:
    (image,) = signature["inputs"]
    shape, dtype = tuple(image["shape"]), np.dtype(image["dtype"])
    item_bytes = dtype.itemsize * int(np.prod(shape))
    app = FastAPI(openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.post("/v1/predict")
    async def predict(request: Request) -> Response:
        try:
            batch = expected_batch(request, item_bytes)
            body = await read(request, batch * item_bytes)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), status_code=400)
        except ClientDisconnect:
            return Response(status_code=400)
        told = await flow.answers(np.frombuffer(body, dtype).reshape(batch, *shape))
        parts = (np.ascontiguousarray(told[each["name"]], each["dtype"]).data for each in signature["outputs"])
        return Response(b"".join(parts), media_type="application/octet-stream")

    return app


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every architecture's gateway is told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--artifact", required=True, type=Path)
    parser.add_argument("--signature", required=True, type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    parser.add_argument("--join-crops", action="store_true")
    return parser


async def serve(flow: Flow, args: argparse.Namespace) -> None:
    """Answer until told to stop."""
    config = uvicorn.Config(
        application(flow, json.loads(args.signature.read_text(encoding="utf-8"))),
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
    await uvicorn.Server(config).serve()
