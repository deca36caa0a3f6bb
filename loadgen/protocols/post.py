"""One HTTP ``POST`` as bytes, for the protocols whose path has a colon or is the user's own."""

from collections.abc import Mapping
from urllib.parse import quote

from nightbench.server import Endpoint

__all__ = ["JSON", "OCTETS", "post"]

OCTETS = "application/octet-stream"
JSON = "application/json"

_AS_THEY_ARE = "/:@!$&'()*+,;=?%~"
"""What a path and a query may hold unquoted (RFC 3986). A quoted ``:predict`` is another path to strict servers."""


def post(endpoint: Endpoint, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole request to ``endpoint.path``, or to ``path`` where that is empty."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    lines = [f"POST {quote(endpoint.path or path, safe=_AS_THEY_ARE)} HTTP/1.1", f"Host: {host}:{endpoint.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
