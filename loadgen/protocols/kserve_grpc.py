"""KServe V2 over gRPC: `inference.GRPCInferenceService/ModelInfer`, tensors as raw bytes."""

from collections.abc import Sequence

from loadgen.protocols.base import Tensors
from loadgen.protocols.call import call
from loadgen.protocols.v2 import decode_response, encode_request
from loadgen.wire.grpc import GrpcRequest
from loadgen.wire.http2 import Http2Wire
from nightbench.model import TensorSpec
from nightbench.server import Endpoint

__all__ = ["INFER", "SERVICE", "KServeGrpc"]

SERVICE = "/inference.GRPCInferenceService"
INFER = f"{SERVICE}/ModelInfer"


class KServeGrpc:
    """Implements `loadgen.protocols.base.Codec`. The batch is the first axis of the arrays themselves."""

    streaming = False

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int
    ) -> None:
        self._endpoint = endpoint
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._batch = batch

    def prepare(self, inputs: Tensors) -> GrpcRequest:
        """A ModelInferRequest for the specified inputs, in their order; it asks for the outputs by name."""
        tensors = {spec.name: inputs[spec.name].astype(spec.dtype.numpy, copy=False) for spec in self._inputs}
        body = encode_request(self._endpoint.model, tensors, [spec.name for spec in self._outputs])
        return call(self._endpoint, INFER, body)

    def decode(self, body: bytes) -> Tensors:
        return decode_response(body)

    def wire(self) -> Http2Wire:
        return Http2Wire()

    def close(self) -> None:
        """Nothing is held."""
