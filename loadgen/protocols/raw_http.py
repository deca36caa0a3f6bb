"""Tensors as bare bytes over HTTP/1.1: what the baseline servers speak.

``POST /v1/predict`` with ``Content-Type: application/octet-stream`` and ``X-Batch: <items>``. The body is every
input's little-endian elements in C order, batch axis first, one input after another in the order of the
model's inputs; the answer's body is every output likewise.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.protocols.base import Tensors
from loadgen.wire.http1 import Http1, request_bytes
from nightbench.model import TensorSpec
from nightbench.server import Endpoint

__all__ = ["RawHttp"]


class RawHttp:
    """Implements `loadgen.protocols.base.Codec`."""

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int
    ) -> None:
        self._endpoint = endpoint
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._batch = batch

    def prepare(self, inputs: Tensors) -> bytes:
        body = b"".join(np.ascontiguousarray(inputs[spec.name], spec.dtype.numpy).tobytes() for spec in self._inputs)
        headers = {"Content-Type": "application/octet-stream", "X-Batch": str(self._batch)}
        return request_bytes("/v1/predict", self._endpoint.host, self._endpoint.port, headers, body)

    def decode(self, body: bytes) -> Tensors:
        expected = self._batch * sum(spec.item_bytes for spec in self._outputs)
        if len(body) != expected:
            raise ValueError(f"the body has {len(body)} bytes, not {expected}")
        arrays: dict[str, NDArray[Any]] = {}
        at = 0
        for spec in self._outputs:
            end = at + self._batch * spec.item_bytes
            flat = np.frombuffer(body[at:end], spec.dtype.numpy)
            arrays[spec.name] = flat.reshape(self._batch, *spec.shape)
            at = end
        return arrays

    def wire(self) -> Http1:
        return Http1()
