"""One HTTP ``POST`` to an endpoint, whose own path wins over the protocol's."""

from collections.abc import Mapping

from loadgen.wire.http1 import request_bytes
from nightbench.server import Endpoint

__all__ = ["JSON", "OCTETS", "post"]

OCTETS = "application/octet-stream"
JSON = "application/json"


def post(endpoint: Endpoint, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole request to ``endpoint.path``, or to ``path`` where that is empty."""
    return request_bytes(endpoint.path or path, endpoint.host, endpoint.port, headers, body)
