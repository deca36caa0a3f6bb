"""HTTP/1.1 from the server's side, as far as answering takes: where one request ends and the next begins.

Requests have a Content-Length or no body; the load engine sends no others. Nothing else in them is looked at.
"""

import re
from collections.abc import Sequence

from loadgen.null.side import Nonsense

__all__ = ["Http1Side"]

_END = b"\r\n\r\n"
_HEAD_LIMIT = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?:\r\n|\Z)", re.IGNORECASE)
_MOST_KNOWN = 256


class Http1Side:
    """Implements `loadgen.null.side.Side`. The answer is whole, its head included, and may be several writes."""

    __slots__ = ("_answer", "_held", "_in_body", "_known", "skip")

    def __init__(self, answer: Sequence[bytes]) -> None:
        self._answer = answer
        self._held = b""
        """The beginning of a head."""
        self._in_body = False
        self._known: dict[bytes, int] = {}
        """Heads seen before and the length of their bodies: a rotation of requests has few."""
        self.skip = 0

    def feed(self, data: bytes) -> Sequence[bytes]:
        if not self._in_body and not self._held:
            end = data.find(_END)
            length = self._known.get(data[:end])
            if length is not None and end >= 0 and len(data) == end + len(_END) + length:
                return self._answer
        if self._held:
            data = self._held + data
        writes: list[bytes] = []
        at = 0
        while True:
            if self._in_body:
                taken = min(self.skip, len(data) - at)
                self.skip -= taken
                at += taken
                if self.skip:
                    break
                self._in_body = False
                writes += self._answer
            end = data.find(_END, at)
            if end < 0:
                break
            self.skip = self._body_bytes(data[at:end])
            self._in_body = True
            at = end + len(_END)
        self._held = data[at:]
        if len(self._held) > _HEAD_LIMIT:
            raise Nonsense(f"a head of more than {_HEAD_LIMIT} bytes")
        return writes

    def _body_bytes(self, head: bytes) -> int:
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if len(self._known) < _MOST_KNOWN:
            self._known[head] = length
        return length
