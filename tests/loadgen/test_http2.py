"""The HTTP/2 wire in hand-made conversations: framing, flow control, and bad answers told apart."""

import socket
import threading
import time
from collections.abc import Callable

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine import run
from loadgen.job import Job
from loadgen.wire import h2_frames as h2
from loadgen.wire.base import Reply
from loadgen.wire.grpc import grpc_message
from loadgen.wire.http2 import Http2Wire
from nightbench.load import ClosedLoop
from nightbench.samples import Outcome, Samples
from nightbench.server import Endpoint, Protocol
from tests.loadgen.h2_talk import (
    BIG,
    HELLO,
    OK_HEADERS,
    OK_TRAILERS,
    WINDOW,
    Frame,
    begun,
    data,
    drained,
    frames,
    good,
    headers,
    request,
    u32,
)


def test_the_first_output_is_the_preface_settings_and_the_request() -> None:
    wire = Http2Wire()
    wire.begin(request(b"ping"))
    sent = drained(wire)
    assert sent.startswith(h2.PREFACE)
    settings_, window, head, body = frames(sent)
    assert dict(h2.read_settings(settings_.payload)) == {
        h2.SETTINGS_ENABLE_PUSH: 0,
        h2.SETTINGS_INITIAL_WINDOW_SIZE: WINDOW,
    }
    assert window == Frame(h2.WINDOW_UPDATE, 0, 0, u32(WINDOW - 65_535))
    assert head.stream == body.stream == 1
    assert body == Frame(h2.DATA, h2.END_STREAM, 1, grpc_message(b"ping"))
    assert wire.output() == ()


def test_the_header_block_means_the_same_on_any_connection() -> None:
    """Strict decoders with any history and any table size read it, and their tables stay empty."""
    asked = request(b"", authority=b"a" * 300)
    for allowed in (4096, 0, 100):
        decoder = Decoder()
        decoder.header_table.add(b"left", b"over")
        decoder.max_allowed_table_size = allowed
        for _ in range(2):
            assert tuple(decoder.decode(asked.block, raw=True)) == asked.headers
            assert len(decoder.header_table.dynamic_entries) == 0


def test_headers_beyond_one_frame_are_refused_before_any_request() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        request(b"", authority=b"a" * 20_000)


def test_streams_count_upwards_by_two() -> None:
    wire = begun()
    for stream in (1, 3, 5):
        assert wire.feed(good(stream)) == Reply(Outcome.OK, b"pong")
        wire.begin(request(b"ping"))
        assert {frame.stream for frame in frames(drained(wire))} == {stream + 2}


@given(
    size=st.integers(0, 300_000),
    window=st.integers(0, 100_000),
    frame_size=st.integers(16_384, 70_000),
    updates=st.lists(st.tuples(st.booleans(), st.integers(1, 100_000)), max_size=20),
)
def test_it_never_sends_more_than_the_peer_allows(
    size: int, window: int, frame_size: int, updates: list[tuple[bool, int]]
) -> None:
    wire = Http2Wire()
    wire.feed(h2.settings_frame({h2.SETTINGS_INITIAL_WINDOW_SIZE: window, h2.SETTINGS_MAX_FRAME_SIZE: frame_size}))
    asked = request(bytes(size))
    wire.begin(asked)
    connection, stream, got = 65_535, window, b""
    done = False
    for on_stream, more in [*updates, (True, 400_000), (False, 400_000)]:
        for frame in frames(drained(wire)):
            if frame.kind == h2.DATA:
                assert len(frame.payload) <= frame_size
                assert not done
                got += frame.payload
                done = bool(frame.flags & h2.END_STREAM)
        assert len(got) <= min(connection, stream)
        assert len(got) == min(connection, stream, len(asked.message)), "held back for no reason"
        stream += more if on_stream else 0
        connection += 0 if on_stream else more
        wire.feed(h2.frame(h2.WINDOW_UPDATE, 0, 1 if on_stream else 0, u32(more)))
    got += b"".join(frame.payload for frame in frames(drained(wire)))
    assert got == asked.message


def test_a_window_that_shrinks_below_zero_holds_data_back_until_it_is_positive() -> None:
    wire = begun(b"x" * 100_000, hello=b"")
    wire.feed(h2.settings_frame({h2.SETTINGS_INITIAL_WINDOW_SIZE: 1000}))
    wire.feed(h2.frame(h2.WINDOW_UPDATE, 0, 0, u32(10**6)))
    wire.feed(h2.frame(h2.WINDOW_UPDATE, 0, 1, u32(65_535 - 1000)))
    assert [frame.kind for frame in frames(drained(wire))] == [h2.SETTINGS]
    wire.feed(h2.frame(h2.WINDOW_UPDATE, 0, 1, u32(7)))
    assert [len(frame.payload) for frame in frames(drained(wire))] == [7]


def test_an_early_answer_cancels_what_is_still_to_be_sent() -> None:
    wire = begun(b"x" * BIG)
    refused = headers(1, (*OK_HEADERS, (b"grpc-status", b"8"), (b"grpc-message", b"too%20big")), end=True)
    assert wire.feed(refused) == Reply(Outcome.RPC_ERROR, b"", "RESOURCE_EXHAUSTED: too big")
    assert frames(drained(wire)) == [Frame(h2.RST_STREAM, 0, 1, u32(h2.CANCEL))]
    assert wire.reusable
    wire.feed(h2.frame(h2.WINDOW_UPDATE, 0, 0, u32(10**6)))
    assert wire.output() == ()


def test_padding_priorities_continuations_and_unknown_frames_change_nothing() -> None:
    block = Encoder().encode(OK_HEADERS)
    padded = bytes([3]) + u32(0) + b"\x10" + block[:4] + bytes(3)
    message = grpc_message(b"pong")
    conversation = (
        h2.frame(0x2, 0, 1, u32(0) + b"\x10")
        + h2.frame(0xBE, 0xFF, 77, b"whatever")
        + h2.frame(h2.HEADERS, h2.PADDED | h2.PRIORITY, 1, padded)
        + h2.frame(h2.CONTINUATION, 0, 1, b"")
        + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[4:])
        + data(1, b"")
        + data(1, bytes([2]) + message[:3] + bytes(2), h2.PADDED)
        + data(1, message[3:])
        + headers(1, OK_TRAILERS, end=True)
    )
    assert begun().feed(conversation) == Reply(Outcome.OK, b"pong")


HOUSEKEEPING = (
    h2.frame(h2.SETTINGS, h2.ACK, 0, b"")
    + h2.frame(h2.WINDOW_UPDATE, 0, 0, u32(1000))
    + h2.frame(h2.WINDOW_UPDATE, 0, 1, u32(1000))
    + h2.frame(h2.PING, 0, 0, bytes(8))
)
"""What a server says about the connection, not in answer to anything."""


def test_an_answer_begins_with_its_headers_not_with_housekeeping() -> None:
    wire = begun()
    wire.feed(HOUSEKEEPING)
    assert not wire.answering
    wire.feed(headers(1, OK_HEADERS))
    assert wire.answering
    assert wire.feed(good()[len(headers(1, OK_HEADERS)) :]) == Reply(Outcome.OK, b"pong")
    assert wire.answering
    wire.begin(request(b"again"))
    assert not wire.answering
    wire.feed(headers(1, OK_TRAILERS, end=True))
    assert not wire.answering, "a frame of the stream before"


def test_the_engine_takes_no_housekeeping_for_the_first_byte(job: Callable[..., Job]) -> None:
    answered_ns: list[int] = []

    def converse() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(HELLO)
            time.sleep(0.05)
            peer.sendall(HOUSEKEEPING)
            time.sleep(0.05)
            answered_ns.append(time.monotonic_ns())
            peer.sendall(good())
            peer.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=converse)
        server.start()
        endpoint = Endpoint(Protocol.KSERVE_GRPC, "127.0.0.1", listener.getsockname()[1], "m")
        one = job(0, endpoint=endpoint, load=ClosedLoop(1), max_requests=1, verify_every=0)
        assert run(one).outcomes == {"ok": 1}
        server.join()
    assert answered_ns[0] <= Samples.load(one.samples).first_byte_ns[0]


def test_informational_headers_come_before_the_answer() -> None:
    assert begun().feed(headers(1, ((b":status", b"103"),)) + good()) == Reply(Outcome.OK, b"pong")


@given(blocks=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=30))
def test_header_blocks_decode_alike_however_often_they_return(blocks: list[tuple[str, bool]]) -> None:
    """The shortcut for repeated blocks must agree with a peer that keeps changing its table."""
    wire, encoder, stream = begun(), Encoder(), 1
    encoder.header_table_size = 150
    for letter, indexed in blocks:
        status = (b"grpc-status", b"3", False)
        words = (b"grpc-message", letter.encode() * 3, not indexed)
        reply = wire.feed(headers(stream, (*OK_HEADERS, status, words), end=True, encoder=encoder))
        assert reply == Reply(Outcome.RPC_ERROR, b"", f"INVALID_ARGUMENT: {letter * 3}")
        stream += 2
        wire.begin(request(b"ping"))


@pytest.mark.parametrize(
    ("conversation", "outcome", "detail"),
    [
        (headers(1, ((b":status", b"404"),), end=True), Outcome.HTTP_4XX, "HTTP 404"),
        (headers(1, ((b":status", b"503"),)), Outcome.HTTP_503, "HTTP 503"),
        (headers(1, ((b":status", b"500"),)), Outcome.HTTP_5XX, "HTTP 500"),
        (headers(1, ((b":status", b"302"),), end=True), Outcome.PROTOCOL_ERROR, "HTTP 302"),
        (headers(1, ((b":status", b"200"), (b"content-type", b"text/html"))), Outcome.PROTOCOL_ERROR, "not gRPC"),
        (headers(1, OK_HEADERS, end=True), Outcome.PROTOCOL_ERROR, "without grpc-status"),
        (headers(1, OK_HEADERS) + data(1, b"", h2.END_STREAM), Outcome.PROTOCOL_ERROR, "without trailers"),
        (headers(1, OK_HEADERS) + headers(1, OK_TRAILERS, end=True), Outcome.PROTOCOL_ERROR, "no message"),
        (
            headers(1, OK_HEADERS) + data(1, b"\x01" + u32(4) + b"pong") + headers(1, OK_TRAILERS, end=True),
            Outcome.PROTOCOL_ERROR,
            "compressed",
        ),
        (
            headers(1, OK_HEADERS) + data(1, grpc_message(b"a") * 2) + headers(1, OK_TRAILERS, end=True),
            Outcome.PROTOCOL_ERROR,
            "exactly one message",
        ),
        (
            headers(1, (*OK_HEADERS, (b"grpc-status", b"99")), end=True),
            Outcome.RPC_ERROR,
            "status 99: ",
        ),
        (h2.frame(h2.RST_STREAM, 0, 1, u32(7)), Outcome.RESET, "REFUSED_STREAM"),
        (h2.frame(h2.RST_STREAM, 0, 1, u32(0xFEED)), Outcome.RESET, "0xfeed"),
        (h2.frame(h2.GOAWAY, 0, 0, u32(0, 11) + b"too_many_pings"), Outcome.RESET, "ENHANCE_YOUR_CALM too_many_pings"),
        (data(1, b"early"), Outcome.PROTOCOL_ERROR, "DATA before HEADERS"),
        (data(0, b""), Outcome.PROTOCOL_ERROR, "stream 0"),
        (data(3, b""), Outcome.PROTOCOL_ERROR, "stream 3"),
        (headers(2, OK_HEADERS), Outcome.PROTOCOL_ERROR, "stream 2"),
        (h2.frame(h2.PUSH_PROMISE, 0, 1, bytes(4)), Outcome.PROTOCOL_ERROR, "PUSH_PROMISE"),
        (h2.frame(h2.HEADERS, 0, 1, b"") + HELLO, Outcome.PROTOCOL_ERROR, "interrupted"),
        (h2.frame(h2.CONTINUATION, 0, 1, b""), Outcome.PROTOCOL_ERROR, "CONTINUATION"),
        (h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff\xff"), Outcome.PROTOCOL_ERROR, "header compression"),
        (h2.frame(h2.HEADERS, h2.PADDED | h2.END_HEADERS, 1, b"\x09abc"), Outcome.PROTOCOL_ERROR, "padding"),
        (h2.frame(h2.WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), Outcome.PROTOCOL_ERROR, "window"),
        (h2.frame(h2.WINDOW_UPDATE, 0, 1, u32(0)), Outcome.PROTOCOL_ERROR, "by nothing"),
        (h2.settings_frame({h2.SETTINGS_MAX_FRAME_SIZE: 1}), Outcome.PROTOCOL_ERROR, "MAX_FRAME_SIZE"),
        (h2.settings_frame({h2.SETTINGS_INITIAL_WINDOW_SIZE: 2**31}), Outcome.PROTOCOL_ERROR, "window"),
        (h2.frame(h2.SETTINGS, 0, 0, b"12345"), Outcome.PROTOCOL_ERROR, "wrong length"),
        (h2.frame(h2.PING, 0, 0, b"1234567"), Outcome.PROTOCOL_ERROR, "PING"),
        (h2.frame_header(h2.DATA, 0, 1, 16_385), Outcome.PROTOCOL_ERROR, "16385 bytes"),
    ],
)
def test_bad_answers_are_told_apart(conversation: bytes, outcome: Outcome, detail: str) -> None:
    reply = begun().feed(conversation)
    assert reply is not None
    assert (reply.outcome, reply.body) == (outcome, b"")
    assert detail in reply.detail


def test_a_server_of_http1_is_named_as_such() -> None:
    wire = begun(hello=b"")
    reply = wire.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert reply is not None
    assert reply.outcome is Outcome.PROTOCOL_ERROR
    assert "does not speak HTTP/2" in reply.detail
    assert "400 Bad Request" in reply.detail
    assert not wire.reusable


def test_a_request_under_way_outlives_a_goodbye_that_spares_it() -> None:
    wire = begun()
    assert wire.feed(h2.frame(h2.GOAWAY, 0, 0, u32(1, 0) + b"max_age")) is None
    assert wire.feed(good()) == Reply(Outcome.OK, b"pong")
    assert not wire.reusable


def test_a_closed_connection_is_a_reset_that_repeats_the_goodbye() -> None:
    wire = begun()
    wire.feed(h2.frame(h2.GOAWAY, 0, 0, u32(2**31 - 1, 2) + b"bye"))
    reply = wire.end()
    assert reply.outcome is Outcome.RESET
    assert "INTERNAL_ERROR bye" in reply.detail
    assert not wire.reusable


def test_nonsense_between_requests_ends_the_connection_quietly() -> None:
    wire = begun()
    assert wire.feed(good() + h2.frame(h2.PING, 0, 9, b"")) == Reply(Outcome.OK, b"pong")
    assert not wire.reusable
    assert wire.feed(good()) is None
