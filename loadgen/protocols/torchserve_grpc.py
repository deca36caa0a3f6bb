"""TorchServe over gRPC: `org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions`.

Inputs are sent as over HTTP (`loadgen.protocols.torchserve`), so that a handler reads the same in both: their bare
bytes one after another in the parameter ``body``. gRPC brings handlers no headers, so the batch is a parameter too,
``X-Batch``. Of requests that TorchServe joined no single one can fail: what our handler refuses is answered with an
empty prediction, and that is the failure it stands for. Field numbers are those of ``inference.proto`` inside
TorchServe 0.12's own ``model-server.jar``.
"""

from collections.abc import Sequence

from loadgen.protocols.answers import bare_bytes, from_bytes_or_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.call import call
from loadgen.protocols.protobuf import bytes_field, fields, message_of
from loadgen.wire.base import Reply
from loadgen.wire.grpc import GrpcRequest
from loadgen.wire.http2 import Http2Wire
from nightbench.model import TensorSpec
from nightbench.samples import Outcome
from nightbench.server import Endpoint

__all__ = ["TorchServeGrpc"]

_PREDICT = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
_FIRST = bytes_field(1, b"")[:1]
"""What a field of bytes with the number 1 begins with; its length follows."""


class TorchServeGrpc:
    """Implements `loadgen.protocols.base.Codec`."""

    streaming = False

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int
    ) -> None:
        self._endpoint = endpoint
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._batch = batch

    def prepare(self, inputs: Tensors) -> GrpcRequest:
        """A PredictionsRequest: model_name 1, input 3, which is a map from names, 1, to bytes, 2."""
        parameters = {"body": bare_bytes(inputs, self._inputs), "X-Batch": str(self._batch).encode()}
        entries = (
            bytes_field(3, bytes_field(1, name.encode()) + bytes_field(2, value)) for name, value in parameters.items()
        )
        return call(self._endpoint, _PREDICT, bytes_field(1, self._endpoint.model.encode()) + b"".join(entries))

    def decode(self, body: bytes) -> Tensors:
        return from_bytes_or_json(bytes(_prediction(body)), self._outputs, self._batch)

    def wire(self) -> Http2Wire:
        return _Wire() if any(spec.item_bytes for spec in self._outputs) else Http2Wire()

    def close(self) -> None:
        """Nothing is held."""


class _Wire(Http2Wire):
    """One connection to a model whose outputs have bytes: no good answer of it is empty."""

    def feed(self, data: bytes) -> Reply | None:
        reply = super().feed(data)
        if reply is not None and reply.outcome is Outcome.OK and _refused(reply.body):
            return Reply(Outcome.RPC_ERROR, b"", "an empty prediction: the handler refused this request")
        return reply


def _prediction(body: bytes) -> memoryview:
    """Of a PredictionResponse: prediction 1. A field that is empty is left out of the message."""
    prediction = memoryview(b"")
    for number, value in fields(memoryview(body)):
        if number == 1:
            prediction = message_of(value)
    return prediction


def _refused(body: bytes) -> bool:
    """Whether the prediction is empty; what is no such message at all is for `decode` to judge."""
    if body[:1] == _FIRST and body[1:2] > b"\0":
        return False  # as always: nothing else need be read while the load runs
    try:
        return not _prediction(body)
    except ValueError:
        return False
