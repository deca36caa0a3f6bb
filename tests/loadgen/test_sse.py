"""Event streams: any split of the bytes means the same, whatever comes has a named end, and no token is miscounted."""

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.protocols.openai_chunks import Chunks, read_chunk
from loadgen.wire.base import Reply
from loadgen.wire.http1_head import BadHttp
from loadgen.wire.sse import Event, EventStream, events_of
from nightbench.samples import Outcome

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def data(said: object) -> bytes:
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"


def delta(content: str | None = None, finish: str | None = None, **more: object) -> bytes:
    said = {"content": content, **more} if content is not None else more
    return data(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}],
        }
    )


def usage(tokens: object) -> bytes:
    return data({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": tokens}})


def chunked(body: bytes, size: int = 10**9) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def cut(whole: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(point % (len(whole) + 1) for point in at), len(whole)]
    return [whole[low:high] for low, high in pairwise(edges) if low < high]


def read(pieces: list[bytes], *, then_end: bool = False) -> tuple[Reply | None, int, int]:
    """The reply, the parts of all feeds, and the tokens."""
    wire = EventStream(Chunks())
    wire.begin(b"request")
    assert wire.output() == (b"request",)
    parts = 0
    for piece in pieces:
        reply = wire.feed(piece)
        parts += wire.parts
        if reply is not None:
            return reply, parts, wire.tokens
    return (wire.end() if then_end else None), parts, wire.tokens


def by_the_book(body: bytes) -> list[Event]:
    """WHATWG HTML 9.2.6, word for word: one character after the other."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    lines, line, at = [], b"", 0
    while at < len(body):
        if body[at] in b"\r\n":
            lines.append(line)
            line = b""
            at += 2 if body[at : at + 2] == b"\r\n" else 1
        else:
            line += body[at : at + 1]
            at += 1
    events, buffer, kind = [], b"", ""
    for line in lines:
        if not line:
            if buffer:
                events.append(Event(kind, buffer[:-1]))
            buffer, kind = b"", ""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if field == b"data":
                buffer += value + b"\n"
            elif field == b"event":
                kind = value.decode("utf-8", "replace")
    return events


BYTES = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"data", b":", b" ", b"x", b"event", b"\xef\xbb\xbf", b"data: 1", b"id: 2"]
    ),
    max_size=40,
).map(b"".join)
POINTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(BYTES)
@example(b"data: YHOO\ndata: +2\ndata: 10\n\n")
@example(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event")
@example(b"data\n\ndata\ndata\n\ndata:")
@example(b"\xef\xbb\xbfdata: 1\r\rdata: 2\r\n\r\n\n\ndata: 3\n\r\n")
def test_events_are_those_of_the_standard(body: bytes) -> None:
    assert events_of(body) == by_the_book(body)


class Heard(Chunks):
    """Notes every block, and finds content in those that hold an x."""

    def begin(self) -> None:
        super().begin()
        self.blocks: list[bytes] = []

    def take(self, blocks: Sequence[bytes]) -> None:
        self.blocks += blocks
        self.parts += sum(b"x" in block for block in blocks)


@given(BYTES, POINTS)
def test_any_split_gives_the_events_of_the_standard(body: bytes, at: list[int]) -> None:
    heard = Heard()
    wire = EventStream(heard)
    wire.begin(b"")
    wire.feed(HEAD.replace(b"Transfer-Encoding: chunked\r\n", b""))
    parts = 0
    for piece in cut(body, at):
        wire.feed(piece)
        parts += wire.parts
    assert events_of(b"".join(block + b"\n\n" for block in heard.blocks)) == by_the_book(body)
    assert parts == sum(b"x" in block for block in heard.blocks)


USUAL = [
    delta("", role="assistant"),
    delta("Hel"),
    delta(' "lo" \\ \n\u00e9\U0001f600'),
    b": keep-alive\n\n",
    delta("\tthere"),
    delta("", finish="length"),
    usage(5),
    DONE,
]


@given(POINTS, st.sampled_from([1, 7, 10**9]), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_of_an_answer_is_the_same_answer(at: list[int], size: int, line_end: bytes) -> None:
    body = b"".join(USUAL).replace(b"\n", line_end)
    reply, parts, tokens = read(cut(chunked(body, size), at))
    assert reply == Reply(Outcome.OK, body)
    assert (parts, tokens) == (3, 5)


def test_parts_are_those_of_the_last_feed() -> None:
    wire = EventStream(Chunks())
    wire.begin(b"")
    found = []
    for event in [HEAD, *(b"%x\r\n%s\r\n" % (len(event), event) for event in USUAL)]:
        assert wire.feed(event) is None
        found.append(wire.parts)
    assert found == [0, 0, 1, 1, 0, 1, 0, 0, 0]
    reply = wire.feed(b"0\r\n\r\n")
    assert reply is not None
    assert reply.outcome is Outcome.OK
    assert (wire.parts, wire.tokens, wire.reusable) == (0, 5, True)


def test_the_next_answer_on_a_connection_begins_anew() -> None:
    wire = EventStream(Chunks())
    for tokens, ending in ((5, usage(5)), (-1, b"")):
        wire.begin(b"")
        assert wire.tokens == -1
        body = delta("a") + delta("b", finish="stop") + ending
        for _ in range(3):
            # The same head and the same length: nothing of it may be taken as known.
            wire.begin(b"")
            reply = wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            assert reply == Reply(Outcome.OK, body)
            assert (wire.parts, wire.tokens) == (2, tokens)
        assert wire.reusable


@pytest.mark.parametrize(
    ("event", "carries"),
    [
        (delta("a"), True),
        (delta(""), False),
        (delta(None, role="assistant"), False),
        (delta("", finish="stop"), False),
        (delta("end", finish="stop"), True),
        (delta(None, reasoning_content="hm"), True),
        (delta("", reasoning="hm"), True),
        (delta(None, tool_calls=[{"index": 0, "function": {"arguments": "{"}}]), True),
        (delta(None, tool_calls=[]), False),
        (delta(None, refusal="no"), True),
        (usage(1), False),
        (data({"choices": [{"index": 0, "text": " x", "finish_reason": None}]}), True),
        (data({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}), False),
        (data({"choices": [{"delta": {"content": ""}}, {"delta": {"content": "b"}}]}), True),
        (data({"note": {"content": "no choice"}}), False),
        (data({"choices": None}), False),
        (b'data: { "choices" : [ { "delta" : { "content" : "blanks" } } ] }\n\n', True),
        (b'data: {"choices":[{"delta":\ndata: {"content":"two lines"}}]}\n\n', True),
        (b"event: ping\ndata:\n\n", False),
        (b"data: [DONE]\n\n" + delta("after the end"), False),
    ],
)
def test_what_carries_output(event: bytes, carries: bool) -> None:
    _, parts, _ = read([chunked(event)])
    assert parts == carries


TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(['","role":"x', '"}}]}', "\\", '\\"', '"content":"', "data:", "\n\n", "null"])
)


@given(st.lists(TEXTS, max_size=8), st.booleans(), st.booleans())
def test_a_known_frame_decides_as_reading_all_of_it_would(texts: list[str], ascii_only: bool, chat: bool) -> None:
    def event(text: str) -> bytes:
        choice = {"delta": {"content": text}} if chat else {"text": text, "index": 0}
        return b"data: " + json.dumps({"id": "1", "choices": [choice]}, ensure_ascii=ascii_only).encode()

    blocks = [event("first"), *map(event, texts)]
    chunks = Chunks()
    chunks.take(blocks)
    assert chunks.parts == 1 + sum(bool(text) for text in texts)
    said = [read_chunk(block.removeprefix(b"data: ")).texts for block in blocks[1:]]
    assert said == [(text,) if text else () for text in texts]


FRAME = (b'data: {"choices":[{"delta":{"content":"', b'"}}]}')


@given(st.lists(st.one_of(st.binary(max_size=12), st.binary(max_size=12).map(lambda m: FRAME[0] + m + FRAME[1]))))
@example([FRAME[0] + b'a"},"finish_reason":"stop","x":{"y":"' + FRAME[1]])
@example([FRAME[0] + b"\\" + FRAME[1]])
@example([FRAME[0] + b"\n: x" + FRAME[1]])
@example([FRAME[0], FRAME[0][:-1] + FRAME[1]])
def test_hostile_events_are_judged_alike_with_and_without_a_frame(blocks: list[bytes]) -> None:
    def verdict(lessons: int) -> tuple[object, ...]:
        chunks = Chunks()
        chunks._lessons = lessons
        said = ""
        try:
            chunks.take([FRAME[0] + b"first" + FRAME[1], *blocks])
        except BadHttp as error:
            said = str(error)
        return said, chunks.parts, chunks.tokens, chunks.reply(b"")

    assert verdict(16) == verdict(0)


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (chunked(delta("a") + DONE), Outcome.OK, ""),
        (chunked(delta("a", finish="stop")), Outcome.OK, ""),
        (chunked(delta("", finish="stop") + DONE), Outcome.OK, ""),
        (chunked(delta("a")), Outcome.PROTOCOL_ERROR, "without [DONE] or a finish_reason, after 1 events of output"),
        (chunked(delta("a") + b"data: [DONE]\n"), Outcome.PROTOCOL_ERROR, "without [DONE]"),
        (chunked(DONE), Outcome.PROTOCOL_ERROR, "without output"),
        (chunked(b""), Outcome.PROTOCOL_ERROR, "the answer is empty"),
        (chunked(b'{"choices":[{"message":{"content":"hi"}}]}'), Outcome.PROTOCOL_ERROR, 'took no notice of "stream"'),
        (chunked(b"<html>hello</html>"), Outcome.PROTOCOL_ERROR, "no event stream: <html>"),
        (chunked(delta("a") + data({"error": {"message": "out of memory"}})), Outcome.RPC_ERROR, "out of memory"),
        (chunked(data({"error": "overloaded"}) + DONE), Outcome.RPC_ERROR, '"overloaded"'),
        (chunked(b"event: error\ndata: gone\n\n" + DONE), Outcome.RPC_ERROR, "gone"),
        (chunked(delta("a") + b"data: {broken\n\n"), Outcome.PROTOCOL_ERROR, "an event is no JSON: {broken"),
        (chunked(b"data: 7\n\n"), Outcome.PROTOCOL_ERROR, "no JSON object: 7"),
        (chunked(b"data: " + b"[" * 100_000 + b"\n\n"), Outcome.PROTOCOL_ERROR, "no JSON: [[["),
        (chunked(b"data: " + b"9" * 10_000 + b"\n\n"), Outcome.PROTOCOL_ERROR, "no JSON: 999"),
        (chunked(b"data: " + b"x" * 2**20), Outcome.PROTOCOL_ERROR, "an event is longer than 1048576 bytes"),
        (chunked((b": " + b"x" * 9998 + b"\n\n") * 6712), Outcome.PROTOCOL_ERROR, "longer than 67108864 bytes"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno model", Outcome.HTTP_4XX, "no model"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.PROTOCOL_ERROR, "the answer is empty"),
    ],
)
def test_every_end_has_a_name(answer: bytes, outcome: Outcome, words: str) -> None:
    for size in (len(answer), 65_536):
        reply, _, _ = read([answer[at : at + size] for at in range(0, len(answer), size)])
        assert reply is not None
        assert reply.outcome is outcome
        assert words in reply.detail
        assert bool(reply.body) is (outcome is Outcome.OK)


def test_a_stream_may_end_with_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    ended, parts, tokens = read([head, delta("a"), usage(1), DONE], then_end=True)
    assert ended == Reply(Outcome.OK, delta("a") + usage(1) + DONE)
    assert (parts, tokens) == (1, 1)
    cut_short, _, _ = read([head, delta("a"), delta("b")[:-1]], then_end=True)
    assert cut_short is not None
    assert cut_short.outcome is Outcome.PROTOCOL_ERROR
    assert "after 1 events" in cut_short.detail


def test_a_connection_lost_in_a_stream_is_a_reset_unless_the_server_said_why() -> None:
    lost, parts, tokens = read([HEAD, chunked(delta("a")).removeprefix(HEAD)[:-7]], then_end=True)
    assert lost is not None
    assert (lost.outcome, parts, tokens) == (Outcome.RESET, 1, -1)
    why = b"event: error\ndata: killed\n\n"
    said, _, _ = read([HEAD, b"%x\r\n%s\r\n" % (len(why), why)], then_end=True)
    assert said is not None
    assert said.outcome is Outcome.RPC_ERROR


@pytest.mark.parametrize("tokens", [-1, 10**12, "5", None, 1.5, True])
def test_a_count_of_tokens_that_cannot_be_is_not_believed(tokens: object) -> None:
    assert read([chunked(delta("a") + usage(tokens) + DONE)])[2] == -1


@given(
    st.one_of(st.binary(max_size=300), BYTES, BYTES.map(lambda b: b"".join(USUAL[:5]) + b)), POINTS, st.integers(1, 40)
)
def test_hostile_bytes_end_in_a_name_and_mean_the_same_however_split(body: bytes, at: list[int], size: int) -> None:
    whole = read([chunked(body)], then_end=True)
    assert whole[0] is not None
    assert whole[0].outcome in {Outcome.OK, Outcome.PROTOCOL_ERROR, Outcome.RPC_ERROR}
    assert read(cut(chunked(body, size), at), then_end=True) == whole
    raw, _, _ = read(cut(HEAD + body, at), then_end=True)
    assert raw is not None


def test_one_byte_at_a_time_costs_no_more_than_its_length() -> None:
    # An event that is copied for every byte of it would move half a terabyte here.
    event = delta("x" * 1_000_000)
    wire = EventStream(Chunks())
    wire.begin(b"")
    wire.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    assert sum(wire.feed(event[at : at + 1]) is not None or wire.parts for at in range(len(event))) == 1
