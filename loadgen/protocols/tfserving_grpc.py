"""TensorFlow Serving over gRPC: `tensorflow.serving.PredictionService/Predict`, tensors as ``tensor_content``."""

from collections.abc import Sequence

from loadgen.protocols.base import Tensors
from loadgen.protocols.call import call
from loadgen.protocols.tensorflow import decode_response, encode_request
from loadgen.wire.grpc import GrpcRequest
from loadgen.wire.http2 import Http2Wire
from nightbench.model import TensorSpec
from nightbench.server import Endpoint

__all__ = ["TfServingGrpc"]

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_SIGNATURE = "serving_default"
"""The signature under which a SavedModel is exported unless it is told another."""


class TfServingGrpc:
    """Implements `loadgen.protocols.base.Codec`. The batch is the first axis of the arrays themselves."""

    streaming = False

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], _batch: int
    ) -> None:
        self._endpoint = endpoint
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    def prepare(self, inputs: Tensors) -> GrpcRequest:
        tensors = {spec.name: inputs[spec.name].astype(spec.dtype.numpy, copy=False) for spec in self._inputs}
        names = [spec.name for spec in self._outputs]
        return call(self._endpoint, _PREDICT, encode_request(self._endpoint.model, _SIGNATURE, tensors, names))

    def decode(self, body: bytes) -> Tensors:
        return decode_response(body)

    def wire(self) -> Http2Wire:
        return Http2Wire()

    def close(self) -> None:
        """Nothing is held."""
