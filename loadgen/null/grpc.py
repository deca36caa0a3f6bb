"""gRPC over cleartext HTTP/2 from the server's side (RFC 9113; gRPC's PROTOCOL-HTTP2.md), as far as answering takes.

Header blocks are not read: whatever is called, the answer is the same. Flow control is kept in both directions.
"""

from collections.abc import Sequence

from loadgen.null.side import Nonsense
from loadgen.wire import h2_frames as h2

__all__ = ["GrpcAnswer", "GrpcSide"]

_LONGEST_FRAME_BYTES = 4 * 2**20
"""What gRPC's C core announces, on which Triton and TensorFlow Serving are built."""
_GREETING = h2.settings_frame(
    {h2.SETTINGS_INITIAL_WINDOW_SIZE: h2.MAX_WINDOW_BYTES, h2.SETTINGS_MAX_FRAME_SIZE: _LONGEST_FRAME_BYTES}
) + h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.U32.pack(h2.MAX_WINDOW_BYTES - h2.DEFAULT_WINDOW_BYTES))
"""Flow control never stops the client."""
_GIVE_BACK_BYTES = 2**30
_SETTINGS_ACK = h2.frame(h2.SETTINGS, h2.ACK, 0, b"")
# HPACK without its dynamic table: an index of the static one, and literals that enter no table (RFC 7541, 6).
_HEADERS = b"\x88" + b"\x0f\x10\x10application/grpc"
_TRAILERS = b"\x00\x0bgrpc-status\x010"


class GrpcAnswer:
    """Headers, one message and trailers, as frames that lack only their stream's number.

    ``message`` carries its gRPC prefix. Shared by all connections.
    """

    __slots__ = ("closing", "message", "opening", "whole")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.opening = _cut(h2.HEADERS, h2.END_HEADERS, _HEADERS)
        self.closing = _cut(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, _TRAILERS)
        frames = [
            self.opening,
            *(
                _cut(h2.DATA, 0, message[at : at + h2.MAX_FRAME_BYTES])
                for at in range(0, len(message), h2.MAX_FRAME_BYTES)
            ),
            self.closing,
        ]
        before, after = zip(*frames, strict=True)
        self.whole = (before[0], *(end + start for end, start in zip(after, before[1:], strict=False)), after[-1])
        """All of it, to be joined by the stream's four bytes."""


class GrpcSide:
    """Implements `loadgen.null.side.Side`."""

    __slots__ = ("_answer", "_ending", "_greeted", "_held", "_in_data", "_initial", "_unacked", "_waiting", "_window",
                 "_windows", "skip")  # fmt: skip

    def __init__(self, answer: GrpcAnswer) -> None:
        self._answer = answer
        self._greeted = False
        self._held = b""
        """The beginning of a frame."""
        self._in_data = False
        """Inside a DATA frame whose payload has not come whole."""
        self._ending = 0
        """The stream that ends with that frame; 0 if none does."""
        self._unacked = 0
        """DATA bytes that the connection's window was not given back."""
        self._initial = h2.DEFAULT_WINDOW_BYTES
        self._window = h2.DEFAULT_WINDOW_BYTES
        self._windows: dict[int, int] = {}
        """What each open stream still lets us send."""
        self._waiting: dict[int, int] = {}
        """Streams whose answer waits for windows, and how much of the message was sent."""
        self.skip = 0

    def feed(self, data: bytes) -> Sequence[bytes]:
        if self._held:
            data = self._held + data
            self._held = b""
        writes: list[bytes] = []
        at = 0
        if not self._greeted:
            at = self._greet(data, writes)
        elif self._in_data:
            at = self._skip(data, writes)
        at = self._read_frames(data, at, writes)
        if at < len(data):
            self._held = data[at:]
        if self._unacked >= _GIVE_BACK_BYTES:
            writes.append(h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.U32.pack(self._unacked)))
            self._unacked = 0
        return writes

    def _greet(self, data: bytes, writes: list[bytes]) -> int:
        if data.startswith(h2.PREFACE):
            self._greeted = True
            writes.append(_GREETING)
            return len(h2.PREFACE)
        if h2.PREFACE.startswith(data):
            return 0
        raise Nonsense("not the preface of HTTP/2")

    def _skip(self, data: bytes, writes: list[bytes]) -> int:
        """Go on with a DATA frame, and say where it ends in ``data``."""
        taken = min(self.skip, len(data))
        self.skip -= taken
        if not self.skip:
            self._in_data = False
            if self._ending:
                self._reply(self._ending, writes)
        return taken

    def _read_frames(self, data: bytes, at: int, writes: list[bytes]) -> int:
        """Handle every whole frame from ``at`` on, and say where the first torn one begins. DATA is never torn."""
        size = len(data)
        # What is left of a preface or of a DATA frame is no frame.
        ready = self._greeted and not self._in_data
        while ready and size - at >= h2.HEADER_BYTES:
            length, kind, flags, stream = h2.read_header(data, at)
            if length > _LONGEST_FRAME_BYTES:
                raise Nonsense(f"a frame of {length} bytes")
            start = at + h2.HEADER_BYTES
            end = start + length
            if kind == h2.DATA:
                self._unacked += length
                if end > size:
                    self.skip = end - size
                    self._in_data = True
                    self._ending = stream if flags & h2.END_STREAM else 0
                    return size
            elif end > size:
                break
            elif kind == h2.HEADERS:
                self._windows[stream] = self._initial
            else:
                self._on_other(kind, flags, stream, data[start:end], writes)
            if flags & h2.END_STREAM and kind in (h2.DATA, h2.HEADERS):
                self._reply(stream, writes)
            at = end
        return at

    def _reply(self, stream: int, writes: list[bytes]) -> None:
        answer, size = self._answer, len(self._answer.message)
        if size <= self._window and size <= self._windows.get(stream, 0):
            self._window -= size
            del self._windows[stream]
            writes.append(h2.U32.pack(stream).join(answer.whole))
        elif stream in self._windows:
            writes.append(h2.U32.pack(stream).join(answer.opening))
            self._waiting[stream] = 0
            self._go_on(writes)

    def _go_on(self, writes: list[bytes]) -> None:
        """Send as much of the waiting answers as the windows take."""
        message = self._answer.message
        for stream, already in list(self._waiting.items()):
            sent = already
            while sent < len(message):
                size = min(len(message) - sent, h2.MAX_FRAME_BYTES, self._window, self._windows[stream])
                if size <= 0:
                    break
                writes.append(h2.frame(h2.DATA, 0, stream, message[sent : sent + size]))
                sent += size
                self._window -= size
                self._windows[stream] -= size
            self._waiting[stream] = sent
            if sent == len(message):
                writes.append(h2.U32.pack(stream).join(self._answer.closing))
                del self._waiting[stream], self._windows[stream]

    def _on_other(self, kind: int, flags: int, stream: int, payload: bytes, writes: list[bytes]) -> None:
        if kind == h2.SETTINGS and not flags & h2.ACK:
            self._on_settings(payload)
            writes.append(_SETTINGS_ACK)
        elif kind == h2.PING and not flags & h2.ACK:
            writes.append(h2.frame(h2.PING, h2.ACK, 0, payload))
        elif kind == h2.WINDOW_UPDATE:
            if len(payload) != 4:
                raise Nonsense("WINDOW_UPDATE of a wrong length")
            more = h2.U32.unpack(payload)[0]
            if not stream:
                self._window += more
            elif stream in self._windows:
                self._windows[stream] += more
        elif kind == h2.RST_STREAM:
            self._windows.pop(stream, None)
            self._waiting.pop(stream, None)
        if self._waiting:
            self._go_on(writes)

    def _on_settings(self, payload: bytes) -> None:
        try:
            settings = h2.read_settings(payload)
        except h2.FrameError as error:
            raise Nonsense(str(error)) from error
        for name, value in settings:
            if name == h2.SETTINGS_INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._initial
                self._initial = value


def _cut(kind: int, flags: int, payload: bytes) -> tuple[bytes, bytes]:
    """A frame without its stream's number: what precedes it, and what follows it."""
    header = h2.frame_header(kind, flags, 0, len(payload))
    return header[: h2.STREAM_AT], payload
