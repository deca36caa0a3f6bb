"""Server-sent events over HTTP/1.1 from the client's side, sans-I/O (WHATWG HTML, 9.2 "Server-sent events").

Framing only: what an event means is the codec's business, a `Reader`. Work is linear in the bytes received and memory
is bounded: by `_EVENT_LIMIT` for one event, by `_STREAM_LIMIT` for an answer.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from loadgen.wire.base import Reply
from loadgen.wire.http1 import Http1
from loadgen.wire.http1_head import BadHttp
from nightbench.samples import Outcome

__all__ = ["Event", "EventStream", "Reader", "event_of", "events_of"]

_EVENT_LIMIT = 2**20
_STREAM_LIMIT = 2**26
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LF, _CR = b"\n\r"


class Event(NamedTuple):
    """One event as a browser would dispatch it."""

    kind: str
    """Empty where the stream names none."""
    data: bytes


class Reader(Protocol):
    """What a codec makes of the events of one answer at a time."""

    parts: int
    """Events of the answer so far that carry content."""
    tokens: int
    """Output tokens of the answer as the server counts them; -1 where it did not say."""

    def begin(self) -> None:
        """Another answer begins."""

    def take(self, blocks: Sequence[bytes]) -> None:
        """Read whole events, each as its lines without the blank line that ends it, joined by line feeds.

        `BadHttp` for what is no such stream; the events before it are counted.
        """

    def reply(self, body: bytes) -> Reply:
        """The verdict on the answer, once ``body``, all of it, has come."""

    def broken(self, reply: Reply) -> Reply:
        """The verdict on an answer that ended too early, as ``reply`` says."""


class EventStream(Http1):
    """One keep-alive connection whose answers are event streams. Implements `loadgen.wire.base.StreamingWire`.

    An answer with another status than 2xx is no stream, and its outcome is that of `Http1`.
    """

    __slots__ = ("_after_cr", "_begun", "_reader", "_tail", "_tail_bytes", "parts", "tokens")

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.parts = 0
        self.tokens = -1
        self._reader = reader
        self._tail: list[bytes] = []
        """Received since the last blank line, line ends already made line feeds."""
        self._tail_bytes = 0
        self._after_cr = False
        """A line feed that comes next belongs to the carriage return before it."""
        self._begun = False
        """Whether the first block was seen: only that one may bear a byte order mark."""

    def begin(self, request: bytes) -> None:
        super().begin(request)
        self.tokens = -1
        self._tail.clear()
        self._tail_bytes = 0
        self._after_cr = self._begun = False
        self._reader.begin()

    def feed(self, data: bytes) -> Reply | None:
        before = self._reader.parts
        reply = super().feed(data)
        self.parts = self._reader.parts - before
        return reply

    def end(self) -> Reply:
        reply = super().end()
        return self._reader.broken(reply) if reply.outcome is Outcome.RESET else reply

    def _reply(self) -> Reply:
        reply = super()._reply()
        # `Http1` takes an answer whose head says what the last one said without looking at it: not here.
        self._usual_bytes = -1
        if reply.outcome is not Outcome.OK:
            return reply
        self.tokens = self._reader.tokens
        return self._reader.reply(reply.body)

    def _hold(self, part: bytes) -> None:
        if not 200 <= self._head.status < 300:
            super()._hold(part)
            return
        self._held += len(part)
        if self._held > _STREAM_LIMIT:
            raise BadHttp(f"the stream is longer than {_STREAM_LIMIT} bytes")
        self._body.append(part)
        # Bytes are looked for by number: for a run of bytes ``in`` raises and clears an error first.
        if self._after_cr or _CR in part:
            part = self._line_feeds(part)
        if not self._tail and part.find(_LF) == len(part) - 2 and part.endswith(b"\n\n"):
            # The usual read: one event of one line.
            self._take([part[:-2]])
        else:
            self._cut(part)

    def _cut(self, part: bytes) -> None:
        """Take the events that ``part`` completes, and keep the rest."""
        tail = self._tail
        if part.find(b"\n\n") < 0 and not (tail and part.startswith(b"\n") and tail[-1].endswith(b"\n")):
            self._keep(part)
            return
        tail.append(part)
        blocks = b"".join(tail).split(b"\n\n")
        tail.clear()
        self._tail_bytes = 0
        self._keep(blocks.pop())
        self._take(blocks)

    def _take(self, blocks: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            blocks[0] = blocks[0].removeprefix(_BYTE_ORDER_MARK)
        self._reader.take(blocks)

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._tail_bytes += len(part)
        if self._tail_bytes > _EVENT_LIMIT:
            raise BadHttp(f"an event is longer than {_EVENT_LIMIT} bytes")
        self._tail.append(part)

    def _line_feeds(self, part: bytes) -> bytes:
        """``part`` with every line end, of which there are three kinds, as one line feed."""
        fresh = part[1:] if self._after_cr and part[:1] == b"\n" else part
        self._after_cr = part[-1:] == b"\r"
        return fresh.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def event_of(block: bytes) -> Event | None:
    """The event of one block of lines, joined by line feeds; ``None`` if it has no data, as a comment has not."""
    kind = ""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        # A line without a colon is a field without a value; one that begins with a colon is a comment.
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.removeprefix(b" ").decode("utf-8", "replace")
    return Event(kind, b"\n".join(data)) if data else None


def events_of(body: bytes) -> list[Event]:
    """Every event of a whole stream; one that no blank line ends is none."""
    text = body.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [event for block in text.split(b"\n\n")[:-1] if (event := event_of(block)) is not None]
