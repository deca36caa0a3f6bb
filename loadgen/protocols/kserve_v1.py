"""KServe V1: JSON rows over HTTP/1.1.

``POST /v1/models/<model>:predict`` with ``{"instances": [...]}``: one entry a batch item, the only input's value or
an object of values by name. ``{"predictions": [...]}`` answers alike. See KServe's "V1 Inference Protocol".
"""

from loadgen.protocols.answers import from_rows, read_json, write_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.post import JSON, post
from loadgen.protocols.posted import Posted

__all__ = ["KServeV1"]


class KServeV1(Posted):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        """`ValueError` for NaN and infinities."""
        columns = {spec.name: inputs[spec.name].tolist() for spec in self._inputs}
        if len(columns) == 1:
            (instances,) = columns.values()
        else:
            instances = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path = f"/v1/models/{self._endpoint.model}:predict"
        return post(self._endpoint, path, {"Content-Type": JSON}, write_json({"instances": instances}))

    def decode(self, body: bytes) -> Tensors:
        answer = read_json(body)
        if not isinstance(answer, dict) or "predictions" not in answer:
            raise ValueError("the answer's JSON has no predictions")
        return from_rows(answer["predictions"], self._outputs, self._batch)
