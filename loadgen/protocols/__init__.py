"""The protocols a request can travel by, one small file each."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from loadgen.protocols.base import Codec
from nightbench.errors import NightbenchError
from nightbench.model import TensorSpec
from nightbench.server import Endpoint, Protocol

__all__ = ["codec_for"]

_CODECS: Mapping[Protocol, str] = {
    Protocol.RAW_HTTP: "RawHttp",
    Protocol.KSERVE_HTTP: "KServeHttp",
    Protocol.KSERVE_GRPC: "KServeGrpc",
    Protocol.KSERVE_V1: "KServeV1",
    Protocol.JSON_HTTP: "JsonHttp",
    Protocol.MULTIPART: "Multipart",
    Protocol.TORCHSERVE: "TorchServe",
    Protocol.TORCHSERVE_GRPC: "TorchServeGrpc",
    Protocol.TFSERVING_REST: "TfServingRest",
    Protocol.TFSERVING_GRPC: "TfServingGrpc",
    Protocol.KSERVE_HTTP_SHM: "KServeHttpShm",
    Protocol.KSERVE_GRPC_SHM: "KServeGrpcShm",
    Protocol.OPENAI: "OpenAi",
    Protocol.OPAQUE_HTTP: "OpaqueHttp",
}
"""Each codec's class; its module bears the protocol's name."""


def codec_for(endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int) -> Codec:
    """The codec of ``endpoint.protocol``; only that protocol's module is imported."""
    name = _CODECS.get(endpoint.protocol)
    if name is None:
        raise NightbenchError(f"an {endpoint.protocol} model has no wire protocol")
    module = import_module(f"loadgen.protocols.{endpoint.protocol.replace('-', '_')}")
    codec: Codec = getattr(module, name)(endpoint, inputs, outputs, batch)
    return codec
