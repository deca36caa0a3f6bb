"""Unary gRPC over cleartext HTTP/2, client side, sans-I/O (RFC 9113; gRPC's PROTOCOL-HTTP2.md).

One request is in flight per connection, on streams 1, 3, 5 and so on. The request's bytes are built once and sent
many times, because the load engine's own cost is part of what it measures.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from loadgen.wire import h2_frames as h2
from loadgen.wire.base import Reply
from loadgen.wire.grpc import GrpcRequest, conclusion, refusal
from loadgen.wire.h2_frames import FrameError
from loadgen.wire.h2_headers import HeaderDecoder
from loadgen.wire.h2_usual import UsualAnswer
from nightbench.samples import Outcome

__all__ = ["GrpcRequest", "Http2Wire"]

_OK = Outcome.OK
_WINDOW_BYTES = 16 * 2**20
"""What we let the peer send before we say more, on the connection and on each stream."""
_MAX_BODY_BYTES = 2**30
_MAX_BLOCK_BYTES = 2**16
_LAST_STREAM = 2**31 - 1

_GREETING = (
    h2.PREFACE
    + h2.settings_frame({h2.SETTINGS_ENABLE_PUSH: 0, h2.SETTINGS_INITIAL_WINDOW_SIZE: _WINDOW_BYTES})
    + h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.U32.pack(_WINDOW_BYTES - h2.DEFAULT_WINDOW_BYTES))
)
_SETTINGS_ACK = h2.frame(h2.SETTINGS, h2.ACK, 0, b"")


class Http2Wire:
    """A `loadgen.wire.base.Wire` whose requests are `GrpcRequest`."""

    def __init__(self) -> None:
        self.answering = False
        self._out: list[bytes | memoryview] = [_GREETING]
        self._rest = b""
        self._headers = HeaderDecoder()
        self._usual = UsualAnswer(self._headers)
        self._block: tuple[int, int, bytes] | None = None
        """Stream, flags and bytes so far of a header block that CONTINUATION frames go on with."""
        self._greeted = False
        self._closed = False
        self._farewell = ""

        self._stream = -1
        self._stream_bytes = b""
        self._busy = False
        self._message = b""
        self._sent = 0
        self._headed = False
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._reply: Reply | None = None

        self._max_frame = h2.MAX_FRAME_BYTES
        self._initial_window = h2.DEFAULT_WINDOW_BYTES
        self._stream_window = 0
        self._window = h2.DEFAULT_WINDOW_BYTES
        self._stream_unacked = 0
        self._unacked = 0

    @property
    def reusable(self) -> bool:
        return not (self._busy or self._closed or self._farewell or self._stream + 2 > _LAST_STREAM)

    def begin(self, request: GrpcRequest) -> None:
        stream = self._stream = self._stream + 2
        self._busy = True
        self.answering = False
        self._headed = False
        self._parts = []
        self._body_bytes = self._stream_unacked = 0
        message = self._message = request.message
        size = len(message)
        self._stream_bytes = h2.U32.pack(stream)
        if size <= self._max_frame and size <= self._window and size <= self._initial_window:
            self._sent = size
            self._window -= size
            self._stream_window = self._initial_window - size
            self._out.append(self._stream_bytes.join(request.pieces))
            return
        self._sent = 0
        self._stream_window = self._initial_window
        self._out.append(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, request.block))
        self._send_data()

    def output(self) -> Sequence[bytes | memoryview]:
        if not self._out:
            return ()
        out, self._out = self._out, []
        return out

    def feed(self, data: bytes) -> Reply | None:
        if self._closed:
            return None
        whole = not self.answering and not self._rest
        if whole and (body := self._usual_body(data)) is not None:
            self._unacked += self._usual.data_bytes
            self.answering = True
            self._busy = False
            return Reply(_OK, body)
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._read_frames(data) :]
        except FrameError as error:
            self._closed = True
            self._rest = b""
            if self._busy:
                self._finish(Reply(Outcome.PROTOCOL_ERROR, b"", str(error)), ended=True)
        reply, self._reply = self._reply, None
        if whole and reply is not None and reply.outcome is _OK:
            self._usual.learn(data, self._stream)
        return reply

    def _usual_body(self, data: bytes) -> bytes | None:
        """The answer's body where it came as always, and no window needs an update after it."""
        idle = not self._busy or self._sent < len(self._message) or self._block is not None
        if idle or self._unacked + self._usual.data_bytes >= _WINDOW_BYTES // 2:
            return None
        return self._usual.body(data, self._stream_bytes)

    def end(self) -> Reply:
        self._closed = True
        self._busy = False
        return Reply(Outcome.RESET, b"", self._farewell or "the server closed the connection")

    # -- sending

    def _send_data(self) -> None:
        """Queue as much of the message as the peer's windows take."""
        message = memoryview(self._message)
        total = len(message)
        while self._sent < total:
            size = min(total - self._sent, self._max_frame, self._window, self._stream_window)
            if size <= 0:
                return
            start = self._sent
            self._sent += size
            self._window -= size
            self._stream_window -= size
            flags = h2.END_STREAM if self._sent == total else 0
            self._out += (
                h2.frame_header(h2.DATA, flags, self._stream, size),
                message[start : start + size],
            )

    def _finish(self, reply: Reply, *, ended: bool) -> None:
        """Hold the request's reply. ``ended``: the peer will send no more on this stream of its own accord."""
        self._reply = reply
        self._busy = False
        if not ended or self._sent < len(self._message):
            self._out.append(h2.frame(h2.RST_STREAM, 0, self._stream, h2.U32.pack(h2.CANCEL)))
        self._message = b""
        self._sent = 0
        self._parts = []

    # -- receiving

    def _read_frames(self, data: bytes) -> int:
        """Handle every whole frame in ``data`` and say where the first torn one begins."""
        at, size = 0, len(data)
        handlers = self._HANDLERS
        while size - at >= h2.HEADER_BYTES:
            length, kind, flags, stream = h2.read_header(data, at)
            if not self._greeted:
                if kind != h2.SETTINGS or flags & h2.ACK or stream:
                    raise FrameError(f"the server does not speak HTTP/2: it began with {data[:40]!r}")
                self._greeted = True
            if length > h2.MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes is longer than allowed")
            start = at + h2.HEADER_BYTES
            end = start + length
            if end > size:
                break
            at = end
            if self._block is not None and kind != h2.CONTINUATION:
                raise FrameError("a header block was interrupted")
            handler = handlers.get(kind)
            if handler is not None:
                handler(self, flags, stream, data[start:end])
        return at

    def _current(self, stream: int) -> bool:
        """Whether a frame is about the request in flight; frames of earlier ones may still arrive."""
        if stream > self._stream or not stream & 1:
            raise FrameError(f"a frame on stream {stream}, which nobody opened")
        return self._busy and stream == self._stream

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        current = self._current(stream)
        size = len(payload)
        self._unacked += size
        if self._unacked >= _WINDOW_BYTES // 2:
            self._out.append(h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.U32.pack(self._unacked)))
            self._unacked = 0
        if not current:
            return
        if not self._headed:
            raise FrameError("DATA before HEADERS")
        payload = h2.unpadded(flags, payload)
        self._parts.append(payload)
        self._body_bytes += len(payload)
        if flags & h2.END_STREAM:
            self._finish(Reply(Outcome.PROTOCOL_ERROR, b"", "the answer ended without trailers"), ended=True)
            return
        if self._body_bytes > _MAX_BODY_BYTES:
            raise FrameError(f"an answer of more than {_MAX_BODY_BYTES} bytes")
        self._stream_unacked += size
        if self._stream_unacked >= _WINDOW_BYTES // 2:
            self._out.append(h2.frame(h2.WINDOW_UPDATE, 0, stream, h2.U32.pack(self._stream_unacked)))
            self._stream_unacked = 0

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if self._busy and stream == self._stream:
            self.answering = True
        payload = h2.unpadded(flags, payload)
        if flags & h2.PRIORITY:
            if len(payload) < 5:
                raise FrameError("HEADERS too short for their priority")
            payload = payload[5:]
        if flags & h2.END_HEADERS:
            self._on_block(stream, flags, payload)
        else:
            self._block = stream, flags, payload

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise FrameError("CONTINUATION of no header block")
        _, first, block = self._block
        block += payload
        if len(block) > _MAX_BLOCK_BYTES:
            raise FrameError(f"a header block of more than {_MAX_BLOCK_BYTES} bytes")
        if flags & h2.END_HEADERS:
            self._block = None
            self._on_block(stream, first, block)
        else:
            self._block = stream, first, block

    def _on_block(self, stream: int, flags: int, block: bytes) -> None:
        """A whole header block: the answer's headers, its trailers, or both in one."""
        fields = self._headers.decode(block)
        if not self._current(stream):
            return
        ended = bool(flags & h2.END_STREAM)
        if self._headed:
            if not ended:
                raise FrameError("HEADERS in the middle of an answer")
            self._finish(conclusion(fields, self._parts), ended=True)
            return
        status = fields.get(b":status", b"")
        if not (len(status) == 3 and status.isdigit()):
            raise FrameError("an answer without :status")
        if status[0] == ord("1") and not ended:
            return
        refused = refusal(status.decode(), fields.get(b"content-type", b""))
        if refused is not None:
            self._finish(refused, ended=ended)
        elif ended:
            self._finish(conclusion(fields, []), ended=True)
        self._headed = True

    def _on_reset(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise FrameError("RST_STREAM of a wrong length")
        if self._current(stream):
            name = h2.error_name(h2.U32.unpack(payload)[0])
            # The stream is closed on both sides: nothing is left to cancel.
            self._sent = len(self._message)
            self._finish(Reply(Outcome.RESET, b"", f"the server reset the stream: {name}"), ended=True)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise FrameError("SETTINGS on a stream")
        if flags & h2.ACK:
            if payload:
                raise FrameError("SETTINGS of a wrong length")
            return
        for name, value in h2.read_settings(payload):
            if name == h2.SETTINGS_INITIAL_WINDOW_SIZE:
                if self._busy:
                    self._stream_window = _widened(self._stream_window, value - self._initial_window)
                self._initial_window = _widened(value, 0)
            elif name == h2.SETTINGS_MAX_FRAME_SIZE:
                if not h2.MAX_FRAME_BYTES <= value < 2**24:
                    raise FrameError(f"SETTINGS_MAX_FRAME_SIZE of {value}")
                self._max_frame = value
        self._out.append(_SETTINGS_ACK)
        if self._busy:
            self._send_data()

    def _on_push(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise FrameError("PUSH_PROMISE, which our settings forbid")

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) != 8:
            raise FrameError("a malformed PING")
        if not flags & h2.ACK:
            self._out.append(h2.frame(h2.PING, h2.ACK, 0, payload))

    def _on_goaway(self, _flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) < 8:
            raise FrameError("a malformed GOAWAY")
        last = h2.U32.unpack_from(payload)[0] & 0x7FFFFFFF
        name = h2.error_name(h2.U32.unpack_from(payload, 4)[0])
        words = f"{name} {payload[8:].decode(errors='replace')}".strip()
        self._farewell = f"the server said goodbye: {words}"[:500]
        if self._busy and last < self._stream:
            self._finish(Reply(Outcome.RESET, b"", self._farewell), ended=True)

    def _on_window_update(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise FrameError("WINDOW_UPDATE of a wrong length")
        more = h2.U32.unpack(payload)[0] & 0x7FFFFFFF
        if not more:
            raise FrameError("WINDOW_UPDATE by nothing")
        if not stream:
            self._window = _widened(self._window, more)
        elif self._current(stream):
            self._stream_window = _widened(self._stream_window, more)
        else:
            return
        if self._busy:
            self._send_data()

    _HANDLERS: ClassVar[dict[int, Callable[["Http2Wire", int, int, bytes], None]]] = {
        h2.DATA: _on_data,
        h2.HEADERS: _on_headers,
        h2.RST_STREAM: _on_reset,
        h2.SETTINGS: _on_settings,
        h2.PUSH_PROMISE: _on_push,
        h2.PING: _on_ping,
        h2.GOAWAY: _on_goaway,
        h2.WINDOW_UPDATE: _on_window_update,
        h2.CONTINUATION: _on_continuation,
    }


def _widened(window: int, more: int) -> int:
    """A flow control window after a change; it may be below zero, never above 2^31 - 1."""
    if window + more > h2.MAX_WINDOW_BYTES:
        raise FrameError("a flow control window beyond 2^31 - 1")
    return window + more
