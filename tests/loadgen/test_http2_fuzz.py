"""The HTTP/2 wire and hostile bytes: any split means the same, and nothing raises or hangs."""

from itertools import pairwise

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.wire import h2_frames as h2
from loadgen.wire.base import Reply
from loadgen.wire.grpc import grpc_message
from loadgen.wire.http2 import Http2Wire
from nightbench.samples import Outcome
from tests.loadgen.h2_talk import HELLO, OK_HEADERS, OK_TRAILERS, begun, data, drained, headers, request, u32

CONVERSATION = (
    h2.settings_frame({h2.SETTINGS_INITIAL_WINDOW_SIZE: 2**20})
    + h2.frame(h2.SETTINGS, h2.ACK, 0, b"")
    + h2.frame(h2.PING, 0, 0, b"12345678")
    + headers(1, OK_HEADERS)
    + h2.frame(h2.WINDOW_UPDATE, 0, 0, u32(1000))
    + data(1, bytes([4]) + grpc_message(b"pong" * 20)[:50] + bytes(4), h2.PADDED)
    + data(1, grpc_message(b"pong" * 20)[50:])
    + headers(1, OK_TRAILERS, end=True)
    + h2.frame(h2.GOAWAY, 0, 0, u32(1, 0))
)


def converse(conversation: bytes, cuts: list[int]) -> tuple[list[Reply], bytes, bool]:
    """Every reply, everything sent, and whether the wire is reusable, when fed in pieces."""
    wire = Http2Wire()
    wire.begin(request(b"ping"))
    replies = []
    edges = [0, *sorted({min(cut, len(conversation)) for cut in cuts}), len(conversation)]
    for start, end in pairwise(edges):
        reply = wire.feed(conversation[start:end])
        if reply is not None:
            replies.append(reply)
    if not replies:
        replies.append(wire.end())
    return replies, drained(wire), wire.reusable


CUTS = st.lists(st.integers(0, len(CONVERSATION)), max_size=40)


@given(cuts=CUTS)
def test_any_split_gives_the_same_reply(cuts: list[int]) -> None:
    whole = converse(CONVERSATION, [])
    assert whole[0] == [Reply(Outcome.OK, b"pong" * 20)]
    assert converse(CONVERSATION, cuts) == whole
    assert converse(CONVERSATION, list(range(len(CONVERSATION)))) == whole


@settings(max_examples=300)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(CONVERSATION) - 1), st.integers(0, 3), st.binary(max_size=12)),
        min_size=1,
        max_size=4,
    ),
    cuts=CUTS,
)
def test_mutated_conversations_end_in_one_reply(edits: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    mutated = CONVERSATION
    for at, removed, inserted in edits:
        mutated = mutated[:at] + inserted + mutated[at + removed :]
    (whole,), _, _ = converse(mutated, [])
    (pieced,), _, _ = converse(mutated, cuts)
    # The words may quote what had arrived so far; the verdict may not depend on it.
    assert pieced[:2] == whole[:2]


@settings(max_examples=300)
@given(junk=st.binary(max_size=400), greeted=st.booleans())
def test_random_bytes_never_raise(junk: bytes, greeted: bool) -> None:
    replies, _, _ = converse(HELLO * greeted + junk, [])
    assert len(replies) == 1
    assert replies[0].outcome is not Outcome.OK


@settings(max_examples=300)
@given(
    pieces=st.lists(
        st.builds(
            h2.frame,
            st.integers(0, 10),
            st.sampled_from((0, 1, 4, 5, 8, 0x2D, 0xFF)),
            st.sampled_from((0, 1, 2, 3)),
            st.one_of(st.binary(max_size=20), st.sampled_from((Encoder().encode(OK_HEADERS), u32(0), u32(5, 1)))),
        ),
        max_size=12,
    )
)
def test_random_frames_never_raise(pieces: list[bytes]) -> None:
    conversation = HELLO + b"".join(pieces)
    assert converse(conversation, []) == converse(conversation, list(range(0, len(conversation), 7)))


@settings(max_examples=200)
@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from([b"pong", b"PONG", b"longer"]),
            st.sampled_from(["a", "a", "a", "b"]),
            st.booleans(),
            st.tuples(st.integers(0, 200), st.integers(0, 255)) | st.none(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_an_answer_that_comes_whole_means_what_its_bytes_one_by_one_mean(
    answers: list[tuple[bytes, str, bool, tuple[int, int] | None]],
) -> None:
    encoder = Encoder()
    whole, torn = begun(), begun()
    for number, (body, note, remembered, edit) in enumerate(answers):
        stream = 1 + 2 * number
        if number:
            for wire in (whole, torn):
                wire.begin(request(b"ping"))
        fields = [(":status", "200"), ("content-type", "application/grpc")]
        noted = HeaderTuple("note", note) if remembered else NeverIndexedHeaderTuple("note", note)
        sent = bytearray(
            headers(stream, fields, encoder=encoder)
            + data(stream, grpc_message(body))
            + headers(stream, [("grpc-status", "0"), noted], end=True, encoder=encoder)
        )
        if edit is not None:
            sent[edit[0] % len(sent)] = edit[1]
        at_once = whole.feed(bytes(sent))
        one_by_one = [reply for byte in sent if (reply := torn.feed(bytes([byte]))) is not None]
        assert ([] if at_once is None else [at_once]) == one_by_one
        assert (whole.reusable, whole.answering) == (torn.reusable, torn.answering)
        assert drained(whole) == drained(torn)
        if not whole.reusable:
            return
