"""The head of an HTTP/1.1 answer: status and framing (RFC 9112), read strictly."""

from dataclasses import dataclass

__all__ = ["NO_HEAD", "BadHttp", "Head", "parse_head"]


class BadHttp(Exception):
    """What the peer sent is not HTTP/1.1. Never leaves the wire."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says about the answer and about the body that follows it."""

    status: int
    line: str
    """``503 Service Unavailable``."""
    length: int | None
    """Body bytes; ``None`` if chunked or ended by closing the connection."""
    chunked: bool
    keep_alive: bool


NO_HEAD = Head(0, "", 0, chunked=False, keep_alive=False)


def parse_head(raw: bytes) -> Head:
    """The meaning of ``raw``, a status line and headers without the empty line after them; or `BadHttp`."""
    lines = raw.decode("latin-1").split("\r\n")
    version, _, line = lines[0].partition(" ")
    code = line[:3]
    if version not in {"HTTP/1.1", "HTTP/1.0"} or not (code.isascii() and code.isdigit() and len(code) == 3):
        raise BadHttp(f"the status line is {lines[0][:80]!r}")
    if line[3:4] not in {"", " "} or code < "100":
        raise BadHttp(f"the status line is {lines[0][:80]!r}")
    status = int(code)
    lengths: set[str] = set()
    codings: list[str] = []
    connection: set[str] = set()
    for header in lines[1:]:
        name, colon, value = header.partition(":")
        if not colon or not name or name != name.strip():
            raise BadHttp(f"a header is {header[:80]!r}")
        match name.lower():
            case "content-length":
                lengths.update(part.strip() for part in value.split(","))
            case "transfer-encoding":
                codings += [part.strip().lower() for part in value.split(",")]
            case "connection":
                connection.update(part.strip().lower() for part in value.split(","))
    if codings and codings != ["chunked"]:
        raise BadHttp(f"the transfer encoding is {', '.join(codings)[:80]!r}")
    # RFC 9112, 6.3: both framings at once is how requests are smuggled; the answer cannot be trusted.
    if codings and lengths:
        raise BadHttp("both a length and a transfer encoding are given")
    if any(not (text.isascii() and text.isdigit() and len(text) <= 18) for text in lengths) or len(lengths) > 1:
        raise BadHttp(f"the content length is {', '.join(sorted(lengths))[:80]!r}")
    bodiless = status < 200 or status in {204, 304}
    length = 0 if bodiless else int(next(iter(lengths))) if lengths else None
    persistent = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
    return Head(
        status=status,
        line=line.strip()[:120],
        length=length,
        chunked=bool(codings) and not bodiless,
        keep_alive=persistent and (bool(codings) or length is not None),
    )
