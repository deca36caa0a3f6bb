"""Tensors as plain JSON over HTTP/1.1: what a service has that its team wrote without a standard in mind.

``POST /v1/predict`` (or the endpoint's own path) with ``{"inputs": {name: nested lists, batch axis first}}``. The
answer is ``{"outputs": {...}}`` likewise, or those outputs alone.
"""

from loadgen.protocols.answers import from_columns, read_json, write_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.post import JSON, post
from loadgen.protocols.posted import Posted

__all__ = ["JsonHttp"]


class JsonHttp(Posted):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        """`ValueError` for NaN and infinities."""
        named = {spec.name: inputs[spec.name].tolist() for spec in self._inputs}
        return post(self._endpoint, "/v1/predict", {"Content-Type": JSON}, write_json({"inputs": named}))

    def decode(self, body: bytes) -> Tensors:
        answer = read_json(body)
        if isinstance(answer, dict) and "outputs" in answer:
            answer = answer["outputs"]
        return from_columns(answer, self._outputs, self._batch)
