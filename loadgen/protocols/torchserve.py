"""TorchServe's inference API: ``POST /predictions/<model>``, whose body is the handler's business.

Inputs are sent as bare bytes, as in `loadgen.protocols.raw_http`, with the batch in ``X-Batch``. The answer may be
bare bytes, or the JSON lists that TorchServe makes of what a handler returns. See TorchServe's "Inference API".
"""

from loadgen.protocols.answers import bare_bytes, from_bytes_or_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.post import OCTETS, post
from loadgen.protocols.posted import Posted

__all__ = ["TorchServe"]


class TorchServe(Posted):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        headers = {"Content-Type": OCTETS, "X-Batch": str(self._batch)}
        return post(self._endpoint, f"/predictions/{self._endpoint.model}", headers, bare_bytes(inputs, self._inputs))

    def decode(self, body: bytes) -> Tensors:
        return from_bytes_or_json(body, self._outputs, self._batch)
