"""Requests that no server should take, in each protocol's own words."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from loadgen.protocols import codec_for
from loadgen.protocols.base import Codec
from loadgen.wire.grpc import GrpcRequest, grpc_message
from nightbench.model import DType, ModelSpec, TensorSpec
from nightbench.server import Endpoint, Protocol

KINDS = ("malformed", "empty", "wrong shape", "wrong dtype", "oversized", "cut off")
"""The last is a good request that ends in its middle, when its sender goes away."""

JSON = frozenset({Protocol.KSERVE_V1, Protocol.JSON_HTTP, Protocol.TFSERVING_REST})
"""Protocols whose numbers have no type: a wrong one is a word."""
_GARBAGE = b"\x00\xff{not a tensor}\xfe"
_HUGE_BYTES = 64 * 2**20
_HUGE_NUMBERS = 2 * 2**20
"""In JSON, where each takes some bytes and some time to read."""
_HUGE_TEXT = 2 * 2**20


def bad_request(kind: str, endpoint: Endpoint, model: ModelSpec, good: Mapping[str, Any]) -> tuple[Codec, Any]:
    """The codec to send it by, and the prepared request. ``good`` is a right request's inputs, one item of them."""
    codec = codec_for(endpoint, model.inputs, model.outputs, 1)
    if kind in {"malformed", "empty"}:
        return codec, _with_body(codec.prepare(good), _GARBAGE if kind == "malformed" else b"")
    if kind == "cut off":
        return codec, codec.prepare(good)
    if model.language:
        return codec, codec.prepare(_said(model.inputs, good, _LANGUAGE[kind]))
    if kind == "wrong dtype" and endpoint.protocol in JSON:
        return codec, codec.prepare({name: np.full(array.shape, "word") for name, array in good.items()})
    specs = tuple(_CHANGES[kind](spec, endpoint.protocol in JSON) for spec in model.inputs)
    changed = codec_for(endpoint, specs, model.outputs, 1)
    return changed, changed.prepare({spec.name: np.zeros((1, *spec.shape), spec.dtype.numpy) for spec in specs})


def _longer(spec: TensorSpec, _: bool) -> TensorSpec:
    return replace(spec, shape=(*spec.shape[:-1], spec.shape[-1] + 1))


def _other_type(spec: TensorSpec, _: bool) -> TensorSpec:
    return replace(spec, dtype=DType.INT64 if spec.dtype is not DType.INT64 else DType.FP32)


def _huge(spec: TensorSpec, as_text: bool) -> TensorSpec:
    wanted = _HUGE_NUMBERS if as_text else _HUGE_BYTES // spec.dtype.itemsize_bytes
    return replace(spec, shape=(spec.shape[0] * (wanted // prod(spec.shape)), *spec.shape[1:]))


_CHANGES: Mapping[str, Callable[[TensorSpec, bool], TensorSpec]] = {
    "wrong shape": _longer,
    "wrong dtype": _other_type,
    "oversized": _huge,
}

_LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "wrong shape": {"max_tokens": -1, "max_completion_tokens": -1},
    "wrong dtype": {"temperature": "hot"},
    "oversized": {"prompt": "word " * (_HUGE_TEXT // 5)},
}
"""What takes the place of a right request's own words."""


def _said(inputs: Sequence[TensorSpec], good: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    (spec,) = inputs
    request = json.loads(good[spec.name].tobytes())
    if "messages" in request and "prompt" in words:
        words = {"messages": [{"role": "user", "content": words["prompt"]}]}
    body = json.dumps({**request, **words}).encode()
    return {spec.name: np.frombuffer(body, np.uint8)[np.newaxis]}


def _with_body(request: Any, body: bytes) -> Any:
    """The prepared request with another body of the announced length."""
    if isinstance(request, GrpcRequest):
        return GrpcRequest(request.headers, grpc_message(body))
    head, _, _ = bytes(request).partition(b"\r\n\r\n")
    announced = re.sub(rb"(?mi)^Content-Length: \d+", b"Content-Length: %d" % len(body), head)
    return announced + b"\r\n\r\n" + body
