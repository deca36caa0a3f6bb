"""Tensors as bare bytes over HTTP/1.1: what the baseline servers speak.

``POST /v1/predict`` (or the endpoint's own path) with ``Content-Type: application/octet-stream`` and
``X-Batch: <items>``. The body is every input's little-endian elements in C order, batch axis first, one input after
another in the order of the model's inputs; the answer's body is every output likewise.
"""

from loadgen.protocols.answers import bare_bytes, from_bare_bytes
from loadgen.protocols.base import Tensors
from loadgen.protocols.post import OCTETS, post
from loadgen.protocols.posted import Posted

__all__ = ["RawHttp"]


class RawHttp(Posted):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        headers = {"Content-Type": OCTETS, "X-Batch": str(self._batch)}
        return post(self._endpoint, "/v1/predict", headers, bare_bytes(inputs, self._inputs))

    def decode(self, body: bytes) -> Tensors:
        return from_bare_bytes(body, self._outputs, self._batch)
