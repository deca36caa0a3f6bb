"""The protocols a request can travel by, one small file each."""

from collections.abc import Sequence

from loadgen.protocols.base import Codec
from nightbench.errors import NightbenchError
from nightbench.model import TensorSpec
from nightbench.server import Endpoint, Protocol

__all__ = ["codec_for"]


def codec_for(endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int) -> Codec:
    """The codec of ``endpoint.protocol``; only that protocol's module is imported."""
    match endpoint.protocol:
        case Protocol.RAW_HTTP:
            from loadgen.protocols.raw_http import RawHttp

            return RawHttp(endpoint, inputs, outputs, batch)
        case Protocol.KSERVE_HTTP:
            from loadgen.protocols.kserve_http import KServeHttp

            return KServeHttp(endpoint, inputs, outputs, batch)
        case Protocol.KSERVE_GRPC:
            from loadgen.protocols.kserve_grpc import KServeGrpc

            return KServeGrpc(endpoint, inputs, outputs, batch)
        case Protocol.IN_PROCESS:
            raise NightbenchError("an in-process model has no wire protocol")
