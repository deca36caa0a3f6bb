"""What gRPC puts on top of HTTP/2: prebuilt calls, and what headers and trailers mean (gRPC's PROTOCOL-HTTP2.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from loadgen.wire import h2_frames as h2
from loadgen.wire.base import Reply
from loadgen.wire.h2_headers import header_block
from nightbench.samples import Outcome

__all__ = ["GrpcRequest", "conclusion", "grpc_message", "refusal"]

_MAX_DETAIL = 500
_STATUS = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


_REFUSALS = {
    "429": Outcome.HTTP_429,
    "503": Outcome.HTTP_503,
    "4": Outcome.HTTP_4XX,
    "5": Outcome.HTTP_5XX,
}
"""By status, and else by its first digit."""


def grpc_message(body: bytes) -> bytes:
    """A message behind its five-byte gRPC prefix: not compressed, and its length."""
    return b"\x00" + h2.U32.pack(len(body)) + body


@dataclass(frozen=True, slots=True)
class GrpcRequest:
    """One unary call, ready to be sent again and again on any connection.

    ``headers`` are all of them, pseudo-headers first; ``message`` carries its gRPC prefix (see `grpc_message`).
    `ValueError` if the headers do not fit one frame.
    """

    headers: tuple[tuple[bytes, bytes], ...]
    message: bytes = field(repr=False)
    block: bytes = field(init=False, repr=False, compare=False)
    """The headers as HPACK bytes."""
    pieces: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    """The whole call as two frames, cut where the stream's number stands; none if the message fits no frame."""

    def __post_init__(self) -> None:
        block = header_block(self.headers)
        if len(block) > h2.MAX_FRAME_BYTES:
            raise ValueError(f"{len(block)} bytes of headers do not fit one HTTP/2 frame")
        object.__setattr__(self, "block", block)
        pieces: tuple[bytes, ...] = ()
        if len(self.message) < h2.FRAME_LIMIT_BYTES:
            headers = h2.frame_header(h2.HEADERS, h2.END_HEADERS, 0, len(block))[: h2.STREAM_AT]
            data = h2.frame_header(h2.DATA, h2.END_STREAM, 0, len(self.message))[: h2.STREAM_AT]
            pieces = (headers, block + data, self.message)
        object.__setattr__(self, "pieces", pieces)


def refusal(status: str, content_type: bytes) -> Reply | None:
    """The reply to an answer that is not gRPC at all."""
    if status == "200":
        if content_type.startswith(b"application/grpc"):
            return None
        return Reply(Outcome.PROTOCOL_ERROR, b"", f"the answer is {content_type[:80]!r}, not gRPC")
    outcome = _REFUSALS.get(status) or _REFUSALS.get(status[0], Outcome.PROTOCOL_ERROR)
    return Reply(outcome, b"", f"HTTP {status}")


def conclusion(trailers: Mapping[bytes, bytes], parts: Sequence[bytes]) -> Reply:
    """The reply, once trailers have said how the call went."""
    status = trailers.get(b"grpc-status", b"")
    if status != b"0":
        if not status.isdigit():
            return Reply(Outcome.PROTOCOL_ERROR, b"", "the answer ended without grpc-status")
        code = int(status[:4])
        name = _STATUS[code] if code < len(_STATUS) else f"status {code}"
        words = unquote_to_bytes(trailers.get(b"grpc-message", b"")).decode(errors="replace")
        return Reply(Outcome.RPC_ERROR, b"", f"{name}: {words}"[:_MAX_DETAIL])
    body = b"".join(parts)
    if len(body) < 5:
        return Reply(Outcome.PROTOCOL_ERROR, b"", "the answer holds no message")
    if body[0]:
        return Reply(Outcome.PROTOCOL_ERROR, b"", "the answer is compressed, which was not offered")
    if h2.U32.unpack_from(body, 1)[0] != len(body) - 5:
        return Reply(Outcome.PROTOCOL_ERROR, b"", "the answer is not exactly one message")
    return Reply(Outcome.OK, body[5:])
