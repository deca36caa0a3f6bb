"""The null server's gRPC, against our own wire in memory and frame by frame."""

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from loadgen.null.grpc import GrpcAnswer, GrpcSide
from loadgen.null.side import Nonsense
from loadgen.wire import h2_frames as h2
from loadgen.wire.base import Reply
from loadgen.wire.grpc import grpc_message
from loadgen.wire.http2 import Http2Wire
from nightbench.samples import Outcome
from tests.loadgen.h2_talk import BIG, Frame, drained, frames, headers, request, u32


def greeted(message: bytes = b"pong", hello: bytes = b"") -> GrpcSide:
    side = GrpcSide(GrpcAnswer(grpc_message(message)))
    side.feed(h2.PREFACE + (hello or h2.settings_frame({})))
    return side


def call(stream: int, body: bytes = b"ping") -> bytes:
    message = grpc_message(body)
    return headers(stream, ()) + h2.frame(h2.DATA, h2.END_STREAM, stream, message)


def answered(side: GrpcSide, data: bytes) -> list[Frame]:
    return frames(b"".join(side.feed(data)))


def message_of(sent: list[Frame], stream: int) -> bytes:
    return b"".join(frame.payload for frame in sent if frame.kind == h2.DATA and frame.stream == stream)


@given(
    bodies=st.lists(st.sampled_from([0, 1, 100, 16_379, 16_380, 70_000]), min_size=1, max_size=4),
    step=st.integers(1, 40_000),
    answer=st.sampled_from([0, 5, 16_379, 16_380, 100_000]),
    unseen=st.booleans(),
)
def test_our_wire_is_answered_however_its_bytes_come(bodies: list[int], step: int, answer: int, unseen: bool) -> None:
    step = max(step, sum(bodies) // 500, 20)
    side, wire = GrpcSide(GrpcAnswer(grpc_message(bytes(answer)))), Http2Wire()
    for size in bodies:
        wire.begin(request(bytes(size)))
        reply: Reply | None = None
        while reply is None:
            sent = drained(wire)
            assert sent, "both sides wait"
            for at in range(0, len(sent), step):
                part = sent[at : at + step]
                if unseen and side.skip:
                    thrown = min(side.skip, len(part))
                    side.skip -= thrown
                    part = part[thrown:]
                    if side.skip:
                        continue
                reply = wire.feed(b"".join(side.feed(part))) or reply
        assert reply == Reply(Outcome.OK, bytes(answer))


def test_it_says_what_grpc_says() -> None:
    opening, data, closing = answered(greeted(b"pong"), call(1))
    assert dict(Decoder().decode(opening.payload, raw=True)) == {
        b":status": b"200",
        b"content-type": b"application/grpc",
    }
    assert data.payload == grpc_message(b"pong")
    assert dict(Decoder().decode(closing.payload, raw=True)) == {b"grpc-status": b"0"}
    assert closing.flags & h2.END_STREAM


def test_an_answer_waits_for_the_clients_windows() -> None:
    side = greeted(bytes(100_000), h2.settings_frame({h2.SETTINGS_INITIAL_WINDOW_SIZE: 10_000}))
    first = answered(side, call(1))
    assert len(message_of(first, 1)) == 10_000
    assert not any(frame.flags & h2.END_STREAM for frame in first)
    # The stream's window opens, then the connection's is in the way.
    second = answered(side, h2.frame(h2.WINDOW_UPDATE, 0, 1, u32(200_000)))
    assert len(message_of(second, 1)) == h2.DEFAULT_WINDOW_BYTES - 10_000
    third = answered(side, h2.frame(h2.WINDOW_UPDATE, 0, 0, u32(200_000)))
    assert message_of(first + second + third, 1) == grpc_message(bytes(100_000))
    assert third[-1].flags & h2.END_STREAM
    assert max(len(frame.payload) for frame in first + second + third) <= h2.MAX_FRAME_BYTES


def test_a_wider_window_for_all_streams_lets_waiting_answers_go() -> None:
    side = greeted(bytes(100), h2.settings_frame({h2.SETTINGS_INITIAL_WINDOW_SIZE: 0}))
    assert message_of(answered(side, call(1) + call(3)), 1) == b""
    sent = answered(side, h2.settings_frame({h2.SETTINGS_INITIAL_WINDOW_SIZE: 1000}))
    assert message_of(sent, 1) == message_of(sent, 3) == grpc_message(bytes(100))


def test_the_connections_window_is_given_back() -> None:
    side = greeted()
    frame_bytes = 4 * 2**20
    head = h2.frame_header(h2.DATA, 0, 1, frame_bytes)
    side.feed(headers(1, ()))
    given_back = 0
    for _ in range(300):
        updates = answered(side, head)
        side.skip = 0
        updates += answered(side, b"")
        given_back += sum(h2.U32.unpack(frame.payload)[0] for frame in updates if frame.kind == h2.WINDOW_UPDATE)
    assert 300 * frame_bytes - given_back < h2.MAX_WINDOW_BYTES
    assert given_back


def test_pings_and_settings_are_acknowledged() -> None:
    side = greeted()
    sent = answered(
        side, h2.frame(h2.PING, 0, 0, b"12345678") + h2.settings_frame({}) + h2.frame(h2.PING, 1, 0, bytes(8))
    )
    assert [(frame.kind, frame.flags, frame.payload) for frame in sent] == [
        (h2.PING, h2.ACK, b"12345678"),
        (h2.SETTINGS, h2.ACK, b""),
    ]


def test_a_reset_call_is_forgotten() -> None:
    side = greeted(bytes(100_000))
    answered(side, call(1))
    assert answered(side, h2.frame(h2.RST_STREAM, 0, 1, u32(h2.CANCEL))) == []
    assert answered(side, h2.frame(h2.WINDOW_UPDATE, 0, 0, u32(2**20))) == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        h2.PREFACE + h2.frame_header(h2.DATA, 0, 1, 2**24 - 1),
        h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, b"torn"),
        h2.PREFACE + h2.frame(h2.WINDOW_UPDATE, 0, 0, b"torn!"),
    ],
)
def test_what_is_no_http2_ends_the_connection(data: bytes) -> None:
    with pytest.raises(Nonsense):
        GrpcSide(GrpcAnswer(grpc_message(b""))).feed(data)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_nonsense_or_nothing(data: bytes) -> None:
    side = greeted(bytes(BIG))
    try:
        side.feed(call(1) + data)
    except Nonsense:
        return
    assert side.skip >= 0
