"""KServe V2 over HTTP/1.1 with the binary tensor data extension.

``POST /v2/models/<model>/infer``: a JSON header of ``Inference-Header-Content-Length`` bytes, then each input's
little-endian elements in C order. The answer is built alike. See the Open Inference Protocol and Triton's
``extension_binary_data.md``.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.protocols.base import Tensors
from loadgen.wire.http1 import Http1, request_bytes
from nightbench.model import DType, TensorSpec
from nightbench.server import Endpoint

__all__ = ["KServeHttp", "described_outputs"]


class KServeHttp:
    """Implements `loadgen.protocols.base.Codec`."""

    streaming = False

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int
    ) -> None:
        self._endpoint = endpoint
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._batch = batch

    def prepare(self, inputs: Tensors) -> bytes:
        parts = [np.ascontiguousarray(inputs[spec.name], spec.dtype.numpy).tobytes() for spec in self._inputs]
        described = [
            {
                "name": spec.name,
                "shape": [self._batch, *spec.shape],
                "datatype": str(spec.dtype),
                "parameters": {"binary_data_size": len(part)},
            }
            for spec, part in zip(self._inputs, parts, strict=True)
        ]
        wanted = [{"name": spec.name, "parameters": {"binary_data": True}} for spec in self._outputs]
        request: dict[str, Any] = {"parameters": {"binary_data_output": True}, "inputs": described}
        if wanted:
            # Where none is named the server sends all of them.
            request["outputs"] = wanted
        header = json.dumps(request, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(header)),
        }
        path = f"/v2/models/{self._endpoint.model}/infer"
        body = b"".join((header, *parts))
        return request_bytes(path, self._endpoint.host, self._endpoint.port, headers, body)

    def decode(self, body: bytes) -> Tensors:
        """The codec does not see the answer's headers; where its JSON ends follows from the sizes it names."""
        try:
            # One byte is one character in Latin-1, so the end found in the text is the end in the bytes.
            _, json_end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
            outputs = described_outputs(json.loads(body[:json_end]))
        except RecursionError as error:
            raise ValueError("the answer's JSON is nested too deeply") from error
        at = len(body) - sum(size for _, size in outputs.values() if size is not None)
        if at < json_end or body[json_end:at].strip():
            raise ValueError(f"the binary part has {len(body) - json_end} bytes, not the size announced")
        arrays: dict[str, NDArray[Any]] = {}
        for name, (described, size) in outputs.items():
            binary = body[at : at + size] if size is not None else None
            arrays[name] = _tensor(name, described, binary)
            at += size or 0
        return arrays

    def wire(self) -> Http1:
        return Http1()

    def close(self) -> None:
        """Nothing is held."""


def described_outputs(answer: Any) -> dict[str, tuple[dict[str, Any], int | None]]:
    """What an answer's JSON says of each output, by name, with the size of its binary part if it has one.

    `ValueError` if it says something else.
    """
    outputs: dict[str, tuple[dict[str, Any], int | None]] = {}
    try:
        for described in answer["outputs"]:
            size = described.get("parameters", {}).get("binary_data_size")
            if size is not None and not (type(size) is int and size >= 0):
                raise ValueError(f"output {described['name']!r} has binary_data_size {size!r}")
            outputs[str(described["name"])] = (described, size)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("the answer's JSON does not list outputs by name") from error
    return outputs


def _tensor(name: str, described: dict[str, Any], binary: bytes | None) -> NDArray[Any]:
    shape = described.get("shape")
    if not isinstance(shape, list) or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise ValueError(f"output {name!r} has shape {shape!r}")
    dtype = DType(str(described.get("datatype"))).numpy
    try:
        if binary is not None:
            return np.frombuffer(binary, dtype).reshape(shape)
        return np.asarray(described.get("data"), dtype).reshape(shape)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"output {name!r} cannot be read: {error}") from error
