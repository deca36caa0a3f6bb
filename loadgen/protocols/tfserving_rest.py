"""TensorFlow Serving's REST API in its columnar form, which repeats no name for each batch item.

``POST /v1/models/<model>:predict`` with ``{"inputs": {name: tensor}}``; ``{"outputs": ...}`` answers with the tensors
by name, or with the only tensor alone. See TensorFlow Serving's "RESTful API".
"""

from loadgen.protocols.answers import from_columns, read_json, write_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.post import JSON, post
from loadgen.protocols.posted import Posted

__all__ = ["TfServingRest"]


class TfServingRest(Posted):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        """`ValueError` for NaN and infinities."""
        named = {spec.name: inputs[spec.name].tolist() for spec in self._inputs}
        path = f"/v1/models/{self._endpoint.model}:predict"
        return post(self._endpoint, path, {"Content-Type": JSON}, write_json({"inputs": named}))

    def decode(self, body: bytes) -> Tensors:
        answer = read_json(body)
        if not isinstance(answer, dict) or "outputs" not in answer:
            raise ValueError("the answer's JSON has no outputs")
        return from_columns(answer["outputs"], self._outputs, self._batch)
