"""Both sides of an HTTP/2 conversation, frame by frame."""

from dataclasses import dataclass

from hpack import Encoder

from loadgen.wire import h2_frames as h2
from loadgen.wire.grpc import GrpcRequest, grpc_message
from loadgen.wire.http2 import Http2Wire

BIG = 602_112
WINDOW = 16 * 2**20


def request(body: bytes, path: bytes = b"/echo/Call", authority: bytes = b"127.0.0.1") -> GrpcRequest:
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", authority),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    return GrpcRequest(headers, grpc_message(body))


OK_HEADERS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
OK_TRAILERS = ((b"grpc-status", b"0"), (b"grpc-message", b""))
HELLO = h2.settings_frame({})


def headers(stream: int, fields: object, *, end: bool = False, encoder: Encoder | None = None) -> bytes:
    block = (encoder or Encoder()).encode(fields)
    return h2.frame(h2.HEADERS, h2.END_HEADERS | (h2.END_STREAM if end else 0), stream, block)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return h2.frame(h2.DATA, flags, stream, payload)


def u32(*numbers: int) -> bytes:
    return b"".join(h2.U32.pack(number) for number in numbers)


def good(stream: int = 1, body: bytes = b"pong") -> bytes:
    return headers(stream, OK_HEADERS) + data(stream, grpc_message(body)) + headers(stream, OK_TRAILERS, end=True)


def begun(body: bytes = b"ping", hello: bytes = HELLO) -> Http2Wire:
    """A wire whose first request was sent."""
    wire = Http2Wire()
    wire.begin(request(body))
    wire.output()
    assert wire.feed(hello) is None
    wire.output()
    return wire


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


def frames(sent: bytes) -> list[Frame]:
    sent = sent.removeprefix(h2.PREFACE)
    found, at = [], 0
    while at < len(sent):
        length, kind, flags, stream = h2.read_header(sent, at)
        found.append(Frame(kind, flags, stream, sent[at + 9 : at + 9 + length]))
        assert len(found[-1].payload) == length
        at += 9 + length
    return found


def drained(wire: Http2Wire) -> bytes:
    return b"".join(wire.output())
