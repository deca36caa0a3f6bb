"""KServe V2 over gRPC: `inference.GRPCInferenceService/ModelInfer`, tensors as raw bytes."""

from collections.abc import Sequence

from loadgen.protocols.base import Tensors
from loadgen.protocols.v2 import decode_response, encode_request
from loadgen.wire.grpc import GrpcRequest, grpc_message
from loadgen.wire.http2 import Http2Wire
from nightbench.model import TensorSpec
from nightbench.server import Endpoint

__all__ = ["KServeGrpc"]

_PATH = b"/inference.GRPCInferenceService/ModelInfer"


class KServeGrpc:
    """Implements `loadgen.protocols.base.Codec`. The batch is the first axis of the arrays themselves."""

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int
    ) -> None:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._model = endpoint.model
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._headers = (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", _PATH),
            (b":authority", f"{host}:{endpoint.port}".encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"nightbench"),
        )

    def prepare(self, inputs: Tensors) -> GrpcRequest:
        """A ModelInferRequest for the specified inputs, in their order; it asks for the outputs by name."""
        tensors = {spec.name: inputs[spec.name].astype(spec.dtype.numpy, copy=False) for spec in self._inputs}
        body = encode_request(self._model, tensors, [spec.name for spec in self._outputs])
        return GrpcRequest(self._headers, grpc_message(body))

    def decode(self, body: bytes) -> Tensors:
        return decode_response(body)

    def wire(self) -> Http2Wire:
        return Http2Wire()
