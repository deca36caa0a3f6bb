"""HTTP/1.1 from the client's side, sans-I/O (RFC 9112): prebuilt requests out, whole answers in.

Everything hostile ends in a reply with a named outcome. Work and memory are linear in the bytes received, and
both are bounded: by `_HEAD_LIMIT` for each head, size line and trailer, by `_BODY_LIMIT` for the body.
"""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from loadgen.wire.base import Reply
from loadgen.wire.http1_head import NO_HEAD, BadHttp, Head, parse_head
from nightbench.samples import Outcome

__all__ = ["Http1", "request_bytes"]

_HEAD_LIMIT = 64 * 1024
_BODY_LIMIT = 2**30
_MAX_INTERIM = 8
_DETAIL_BYTES = 200

_OK = Outcome.OK
"""An enum's member costs a look-up of its own."""
_NAMED = {429: Outcome.HTTP_429, 503: Outcome.HTTP_503}
"""Statuses that have an outcome of their own."""
_reply_of = tuple.__new__
"""`Reply` without its constructor, which takes as long as all the rest of the usual case."""
_HEX = frozenset(b"0123456789abcdefABCDEF")


_AS_THEY_ARE = "/:@!$&'()*+,;=?%~"
"""What a path and a query may hold unquoted (RFC 3986). A quoted ``:predict`` is another path to strict servers."""


def request_bytes(path: str, host: str, port: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole ``POST`` as one run of bytes, to be sent as often as wanted. ``path`` may have a query."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"POST {quote(path, safe=_AS_THEY_ARE)} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Http1:
    """One keep-alive connection carrying one request at a time. Implements `loadgen.wire.base.Wire`."""

    __slots__ = (
        "_at",
        "_body",
        "_data",
        "_head",
        "_held",
        "_interim",
        "_known",
        "_missing",
        "_out",
        "_state",
        "_usual",
        "_usual_bytes",
        "answering",
        "reusable",
    )

    def __init__(self) -> None:
        self.answering = False
        self._out: tuple[bytes, ...] = ()
        self._state: Callable[[], bool] | None = None
        """What is being read, ``None`` between requests. True if it went on, false if it needs more bytes."""
        self._data = b""
        """Received and not yet understood from ``_at`` on: at most one incomplete head or line."""
        self._at = 0
        self._body: list[bytes] = []
        self._held = 0
        """Bytes in ``_body``."""
        self._missing = 0
        """Body or chunk bytes still to come."""
        self._interim = 0
        self.reusable = True
        self._head = NO_HEAD
        self._known: tuple[bytes | None, Head] = (None, NO_HEAD)
        """The last head and its meaning: servers repeat themselves, so most are parsed by one comparison."""
        self._usual = b""
        """The head, with its empty line, of the last good answer that said its length and kept the connection."""
        self._usual_bytes = -1
        """Of that whole answer."""

    def begin(self, request: bytes) -> None:
        self._out = (request,)
        self.answering = self.reusable = False
        self._held = 0
        self._interim = 0
        self._state = self._read_head

    def output(self) -> Sequence[bytes | memoryview]:
        out = self._out
        if out:
            self._out = ()
        return out

    def feed(self, data: bytes) -> Reply | None:
        if self._state is None:
            # Bytes nobody asked for: the framing is lost, whatever follows.
            self.reusable = self.reusable and not data
            return None
        if len(data) == self._usual_bytes and not self.answering and data.startswith(self._usual):
            # The head says what it said last time and just the body follows it: nothing is left to parse.
            self.answering = self.reusable = True
            self._state = None
            return _reply_of(Reply, (_OK, data[len(self._usual) :], ""))
        self.answering = True
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0
        try:
            while (state := self._state) is not None and state():
                pass
        except BadHttp as error:
            return self._fail(Outcome.PROTOCOL_ERROR, str(error))
        return self._reply() if state is None else None

    def end(self) -> Reply:
        if self._state == self._read_to_end:
            return self._reply()
        silent = self._state == self._read_head and self._at == len(self._data)
        where = "before an answer" if silent else "in the middle of an answer"
        return self._fail(Outcome.RESET, f"connection closed {where}")

    def _fail(self, outcome: Outcome, detail: str) -> Reply:
        self._state = None
        self.reusable = False
        self._body.clear()
        self._data = b""
        self._at = 0
        return Reply(outcome, b"", detail)

    def _reply(self) -> Reply:
        head = self._head
        left_over = self._at < len(self._data)
        self.reusable = head.keep_alive and not left_over
        self._state = None
        self._data = b""
        self._at = 0
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        if 200 <= head.status < 300:
            raw = self._known[0]
            if head.keep_alive and head.length is not None and raw is not None:
                self._usual = raw + b"\r\n\r\n"
                self._usual_bytes = len(self._usual) + head.length
            return Reply(_OK, body)
        excerpt = body[:_DETAIL_BYTES].decode("utf-8", "replace").strip()
        detail = f"{head.line}: {excerpt}" if excerpt else head.line
        if head.status >= 400:
            general = Outcome.HTTP_5XX if head.status >= 500 else Outcome.HTTP_4XX
            return Reply(_NAMED.get(head.status, general), b"", detail)
        return Reply(Outcome.PROTOCOL_ERROR, b"", f"unexpected answer {detail}")

    def _until(self, mark: bytes, what: str) -> bytes | None:
        """Take what precedes ``mark``, and the mark; ``None`` while it has not come."""
        at = self._data.find(mark, self._at)
        length = (at if at >= 0 else len(self._data)) - self._at
        if length > _HEAD_LIMIT:
            raise BadHttp(f"{what} is longer than {_HEAD_LIMIT} bytes")
        if at < 0:
            return None
        found = self._data[self._at : at]
        self._at = at + len(mark)
        return found

    def _hold(self, part: bytes) -> None:
        self._held += len(part)
        if self._held > _BODY_LIMIT:
            raise BadHttp(f"the body is longer than {_BODY_LIMIT} bytes")
        self._body.append(part)

    def _counted(self) -> bool:
        """Hold what came of the ``_missing`` bytes; whether that was all of them."""
        part = self._data[self._at : self._at + self._missing]
        self._at += len(part)
        self._missing -= len(part)
        if part:
            self._hold(part)
        return not self._missing

    def _read_head(self) -> bool:
        raw = self._until(b"\r\n\r\n", "the head of the answer")
        if raw is None:
            return False
        if raw == self._known[0]:
            head = self._known[1]
        else:
            head = parse_head(raw)
            self._known = (raw, head)
        self._head = head
        if head.status < 200:
            self._interim += 1
            if head.status == 101 or self._interim > _MAX_INTERIM:
                raise BadHttp(f"unexpected answer {head.line}")
        elif head.chunked:
            self._state = self._read_size
        elif head.length is None:
            self._state = self._read_to_end
        elif head.length > _BODY_LIMIT:
            raise BadHttp(f"a body of {head.length} bytes is announced")
        else:
            self._missing = head.length
            self._state = self._read_length if head.length else None
        return True

    def _read_length(self) -> bool:
        if not self._counted():
            return False
        self._state = None
        return True

    def _read_to_end(self) -> bool:
        part = self._data[self._at :]
        self._at = len(self._data)
        if part:
            self._hold(part)
        return False

    def _read_size(self) -> bool:
        line = self._until(b"\r\n", "a chunk's size line")
        if line is None:
            return False
        digits = line.partition(b";")[0].strip(b" \t")
        if not 0 < len(digits) <= 16 or not _HEX.issuperset(digits):
            raise BadHttp(f"a chunk's size is {digits[:20]!r}")
        self._missing = int(digits, 16)
        if self._missing > _BODY_LIMIT:
            raise BadHttp(f"a chunk of {self._missing} bytes is announced")
        self._state = self._read_chunk if self._missing else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        if not self._counted():
            return False
        self._state = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        mark = self._data[self._at : self._at + 2]
        if not b"\r\n".startswith(mark):
            raise BadHttp("a chunk is longer than it said")
        if len(mark) < 2:
            return False
        self._at += 2
        self._state = self._read_size
        return True

    def _read_trailer(self) -> bool:
        line = self._until(b"\r\n", "a trailer")
        if line is None:
            return False
        self._held += len(line)
        if self._held > _BODY_LIMIT:
            raise BadHttp("the trailers never end")
        if not line:
            self._state = None
        return True
