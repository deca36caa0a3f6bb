"""The shape of a unary gRPC answer that arrives whole, learnt once so that its likes need no parsing.

A server repeats itself: HEADERS, one DATA frame and trailers, often in one write and of one length. Two such answers
differ in their stream's number and in the message. HTTP/1 has the same short cut in `loadgen.wire.http1`.
"""

from loadgen.wire import h2_frames as h2
from loadgen.wire.h2_headers import HeaderDecoder

__all__ = ["UsualAnswer"]

_FRAMES = [
    (h2.HEADERS, h2.END_HEADERS),
    (h2.DATA, 0),
    (h2.HEADERS, h2.END_HEADERS | h2.END_STREAM),
]
_GRPC_PREFIX_BYTES = 5


class UsualAnswer:
    """Knows one good answer by heart. Belongs to one connection, as the meaning of header blocks does."""

    __slots__ = ("_body", "_bytes", "_changes", "_closing", "_headers", "_opening", "data_bytes")

    def __init__(self, headers: HeaderDecoder) -> None:
        self._headers = headers
        self._changes = -1
        """What `HeaderDecoder.changes` was: another header table gives the same bytes another meaning."""
        self._bytes = -1
        self._opening: tuple[bytes, ...] = ()
        """What precedes the message's body, cut where the stream's number stands; ``_closing`` is what follows it."""
        self._closing: tuple[bytes, ...] = ()
        self._body = slice(0)
        self.data_bytes = 0
        """What such an answer costs of the flow control windows."""

    def body(self, data: bytes, stream: bytes) -> bytes | None:
        """The message's body if ``data`` is the usual answer on ``stream``, given as its four bytes."""
        if (
            len(data) == self._bytes
            and self._headers.changes == self._changes
            and data.startswith(stream.join(self._opening))
            and data.endswith(stream.join(self._closing))
        ):
            return data[self._body]
        return None

    def learn(self, data: bytes, stream: int) -> None:
        """Take ``data``, after which a good answer on ``stream`` was whole, for the usual one, if it is all of it."""
        starts: list[int] = []
        frames: list[tuple[int, int]] = []
        at = 0
        while len(starts) < len(_FRAMES) and len(data) - at >= h2.HEADER_BYTES:
            length, kind, flags, about = h2.read_header(data, at)
            if about != stream:
                return
            starts.append(at)
            frames.append((kind, flags))
            at += h2.HEADER_BYTES + length
        if frames != _FRAMES or at != len(data):
            return
        first, message, last = (start + h2.HEADER_BYTES for start in starts)
        if not (self._headers.knows(data[first : starts[1]]) and self._headers.knows(data[last:])):
            return
        body = message + _GRPC_PREFIX_BYTES
        self._opening = (
            data[: h2.STREAM_AT],
            data[first : starts[1] + h2.STREAM_AT],
            data[message:body],
        )
        self._closing = (data[starts[2] : starts[2] + h2.STREAM_AT], data[last:])
        self._body = slice(body, starts[2])
        self._bytes = len(data)
        self._changes = self._headers.changes
        self.data_bytes = starts[2] - message
