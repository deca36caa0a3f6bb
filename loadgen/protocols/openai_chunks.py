"""The events of an OpenAI-compatible stream, judged while they come: which of them bring output, and how it ended.

Events of one answer are alike but for the piece of text they bring. So the first such event is read as JSON, and
what stands before and after its text becomes a `Frame`; an event in the same frame is known by two comparisons.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.wire.base import Reply
from loadgen.wire.http1_head import BadHttp
from loadgen.wire.sse import event_of
from nightbench.samples import Outcome

__all__ = ["Chunk", "Chunks", "read_chunk"]

_DONE = b"[DONE]"
_DETAIL_CHARS = 200
_MOST_TOKENS = 10_000_000
"""Of one answer. A larger count is not believed."""
_LESSONS = 16
"""Frames looked for in one answer. Where they keep changing, looking costs more than it saves."""
_NEVER = b"\n\n"
"""No block holds it, so it begins no event."""
_BACKSLASH, _QUOTE, _LF = b'\\"\n'
"""As numbers: looking for a run of bytes with ``in`` raises and clears an error first."""
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)"\s*:\s*"((?:[^"\\]|\\.)+)"')
_INSIDE_STRING = re.compile(rb'[^"\\\n]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\n]*)*')
_PROBE = "nightbench"


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event says."""

    texts: tuple[str, ...] = ()
    """Pieces of output that are not empty: content, reasoning, a refusal."""
    calls: bool = False
    """It brings a piece of a tool call, which is output too."""
    finished: bool = False
    """Some choice ended, and says why."""
    tokens: int | None = None
    """``usage.completion_tokens``."""
    error: str | None = None
    """The server gave up, in its own words."""

    @property
    def content(self) -> bool:
        return bool(self.texts) or self.calls


class Chunks:
    """The verdict on one answer after the other. Implements `loadgen.wire.sse.Reader`."""

    __slots__ = ("_done", "_error", "_finished", "_head", "_lessons", "_seen", "_tail", "parts", "tokens")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.parts = 0
        self.tokens = -1
        self._seen = self._done = self._finished = False
        self._error: str | None = None
        self._lessons = _LESSONS
        self._head = self._tail = _NEVER
        """The frame: what an event with text begins and ends with."""

    def take(self, blocks: Sequence[bytes]) -> None:
        parts = 0
        head, tail = self._head, self._tail
        try:
            for block in blocks:
                if block.startswith(head) and block.endswith(tail):
                    text = block[len(head) : len(block) - len(tail)]
                    # Most pieces escape nothing, and need no look at how it is done.
                    plain = _BACKSLASH not in text and _QUOTE not in text and _LF not in text
                    if text and (plain or _INSIDE_STRING.fullmatch(text)):
                        parts += 1
                        continue
                parts += self._read(block)
                head, tail = self._head, self._tail
        finally:
            self.parts += parts

    def reply(self, body: bytes) -> Reply:
        if self._error is not None:
            return Reply(Outcome.RPC_ERROR, b"", f"the stream reports an error: {self._error}")
        if self._finished or (self._done and self.parts):
            return Reply(Outcome.OK, body)
        if self._seen:
            how = "with [DONE] but without output" if self._done else "without [DONE] or a finish_reason"
            return Reply(Outcome.PROTOCOL_ERROR, b"", f"the stream ended {how}, after {self.parts} events of output")
        excerpt = body[:_DETAIL_CHARS].decode("utf-8", "replace").strip()
        if excerpt.startswith("{"):
            what = f'one JSON document instead of events: the server took no notice of "stream": true: {excerpt}'
        else:
            what = f"no event stream: {excerpt}" if excerpt else "empty: there is no event in it"
        return Reply(Outcome.PROTOCOL_ERROR, b"", f"the answer is {what}")

    def broken(self, reply: Reply) -> Reply:
        return reply if self._error is None else self.reply(b"")

    def _read(self, block: bytes) -> int:
        """Any event at all; 1 if it carries output."""
        event = event_of(block)
        if event is None or not event.data or self._done:
            # Clients stop reading at [DONE].
            return 0
        self._seen = True
        if event.data == _DONE:
            self._done = True
            self._head = self._tail = _NEVER
            return 0
        if event.kind == "error":
            self._error = self._error or _excerpt(event.data)
            return 0
        try:
            chunk = read_chunk(event.data)
        except ValueError as error:
            raise BadHttp(str(error)) from error
        self._error = self._error or chunk.error
        self._finished = self._finished or chunk.finished
        if chunk.tokens is not None:
            self.tokens = chunk.tokens
        if len(chunk.texts) == 1 and self._lessons:
            self._learn(block, chunk)
        return int(chunk.content)

    def _learn(self, block: bytes, chunk: Chunk) -> None:
        """Find the frame of ``block``, and prove it: with another text in it, the event says that text and no more."""
        self._lessons -= 1
        found = _TEXT.search(block)
        if found is None or b"\n" in block or not block.startswith(b"data:") or chunk != Chunk(texts=chunk.texts):
            return
        head, tail = block[: found.start(1)], block[found.end(1) :]
        probe = event_of(head + _PROBE.encode() + tail)
        if probe is not None and read_chunk(probe.data) == Chunk(texts=(_PROBE,)):
            self._head, self._tail = head, tail


def read_chunk(data: bytes) -> Chunk:
    """What an event's data says; `ValueError` if it is no JSON object."""
    try:
        said = json.loads(data.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"an event is no JSON: {_excerpt(data)}") from error
    if not isinstance(said, dict):
        raise ValueError(  # noqa: TRY004 - it is the server's mistake, not the caller's
            f"an event is no JSON object: {_excerpt(data)}"
        )
    texts: list[str] = []
    calls = finished = False
    choices = said.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        finished = finished or choice.get("finish_reason") is not None
        delta = choice.get("delta")
        pieces = [choice.get("text")]
        if isinstance(delta, dict):
            # Servers name the reasoning of a model in either way, some in both at once.
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            pieces += [delta.get("content"), reasoning, delta.get("refusal")]
            calls = calls or bool(delta.get("tool_calls") or delta.get("function_call"))
        texts += [piece for piece in pieces if piece and isinstance(piece, str)]
    gave_up = said.get("error")
    words = None if gave_up is None else _words(gave_up)
    return Chunk(tuple(texts), calls, finished, _tokens(said.get("usage")), words)


def _tokens(usage: object) -> int | None:
    count = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    return count if type(count) is int and 0 <= count <= _MOST_TOKENS else None


def _words(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else None
    return (message if isinstance(message, str) and message else json.dumps(error))[:_DETAIL_CHARS]


def _excerpt(data: bytes) -> str:
    return data[:_DETAIL_CHARS].decode("utf-8", "replace")
