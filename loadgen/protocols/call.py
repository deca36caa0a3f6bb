"""One unary gRPC call to an endpoint, for the protocols that speak it."""

from loadgen.wire.grpc import GrpcRequest, grpc_message
from nightbench.server import Endpoint

__all__ = ["call"]


def call(endpoint: Endpoint, path: str, body: bytes) -> GrpcRequest:
    """The call of ``/package.Service/Method`` with ``body`` as its only message."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", f"{host}:{endpoint.port}".encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"nightbench"),
    )
    return GrpcRequest(headers, grpc_message(body))
