"""TorchServe over gRPC: `org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions`.

Inputs are sent as over HTTP (`loadgen.protocols.torchserve`), so that a handler reads the same in both: their bare
bytes one after another in the parameter ``body``. gRPC brings handlers no headers, so the batch is a parameter too,
``X-Batch``. Field numbers are those of ``inference.proto`` inside TorchServe 0.12's own ``model-server.jar``.
"""

from collections.abc import Sequence

from loadgen.protocols.answers import bare_bytes, from_bytes_or_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.call import call
from loadgen.protocols.protobuf import bytes_field, fields, message_of
from loadgen.wire.grpc import GrpcRequest
from loadgen.wire.http2 import Http2Wire
from nightbench.model import TensorSpec
from nightbench.server import Endpoint

__all__ = ["TorchServeGrpc"]

_PREDICT = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


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
        """Of a PredictionResponse: prediction 1. A field that is empty is left out of the message."""
        prediction = b""
        for number, value in fields(memoryview(body)):
            if number == 1:
                prediction = bytes(message_of(value))
        return from_bytes_or_json(prediction, self._outputs, self._batch)

    def wire(self) -> Http2Wire:
        return Http2Wire()

    def close(self) -> None:
        """Nothing is held."""
