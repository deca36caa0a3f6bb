"""The HTTP/2 wire against a real gRPC server, hand-made conversations, and hostile bytes."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import grpc
import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine import run
from loadgen.job import Job
from loadgen.wire import h2_frames as h2
from loadgen.wire.base import Reply
from loadgen.wire.grpc import GrpcRequest, grpc_message
from loadgen.wire.http2 import Http2Wire
from nightbench.load import ClosedLoop
from nightbench.samples import Outcome, Samples
from nightbench.server import Endpoint, Protocol

BIG = 602_112
WINDOW = 16 * 2**20


def request(body: bytes, path: bytes = b"/echo/Call", authority: bytes = b"127.0.0.1") -> GrpcRequest:
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", authority),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    return GrpcRequest(headers, grpc_message(body))


# -- a real server


def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
    command, _, rest = body.partition(b" ")
    if command == b"fail":
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, rest.decode())
    return bytes(int(rest)) if command == b"size" else body


Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a gRPC server with the given C-core options; its port."""
    servers = []

    def start(**options: int) -> int:
        limits = {"max_receive_message_length": -1, "max_send_message_length": -1, **options}
        server = grpc.server(ThreadPoolExecutor(2), options=[(f"grpc.{name}", value) for name, value in limits.items()])
        method = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo", {"Call": method})])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        server.stop(None).wait()


class Client:
    """The smallest engine: one blocking socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.wire = Http2Wire()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self) -> None:
        for piece in self.wire.output():
            self.socket.sendall(piece)

    def call(self, body: bytes, path: bytes = b"/echo/Call") -> Reply:
        self.wire.begin(request(body, path))
        while True:
            self.send()
            data = self.socket.recv(2**18)
            reply = self.wire.feed(data) if data else self.wire.end()
            if reply is not None:
                return reply


def test_small_and_large_messages_travel_both_ways(serve: Serve) -> None:
    with Client(serve()) as client:
        for size in (100, BIG, 0, 100, BIG):
            body = bytes(range(251)) * (size // 251) + bytes(size % 251)
            assert client.call(body) == Reply(Outcome.OK, body)


def test_an_answer_larger_than_our_window_arrives(serve: Serve) -> None:
    with Client(serve()) as client:
        for _ in range(2):
            reply = client.call(b"size %d" % (WINDOW + 12_345))
            assert (reply.outcome, len(reply.body)) == (Outcome.OK, WINDOW + 12_345)


def test_an_error_status_is_told_in_words_and_the_connection_goes_on(serve: Serve) -> None:
    with Client(serve()) as client:
        for words in ("bad tensor", "größe 100%\nzeile zwei", "bad tensor"):
            reply = client.call(b"fail " + words.encode())
            assert reply == Reply(Outcome.RPC_ERROR, b"", f"INVALID_ARGUMENT: {words}")
            assert client.wire.reusable
            assert client.call(b"fine").body == b"fine"


def test_an_unknown_method_is_an_rpc_error(serve: Serve) -> None:
    with Client(serve()) as client:
        reply = client.call(b"x" * BIG, path=b"/echo/Nothing")
        assert reply.outcome is Outcome.RPC_ERROR
        assert reply.detail.startswith("UNIMPLEMENTED: ")
        assert client.call(b"fine").body == b"fine"


def test_an_answer_too_large_for_the_server_is_an_rpc_error(serve: Serve) -> None:
    with Client(serve(max_receive_message_length=1000)) as client:
        assert client.call(b"x" * BIG).detail.startswith("RESOURCE_EXHAUSTED: ")
        assert client.call(b"fine").body == b"fine"


def test_two_hundred_requests_share_a_connection(serve: Serve) -> None:
    with Client(serve()) as client:
        for number in range(200):
            assert client.call(b"%d" % number).body == b"%d" % number
            assert client.wire.reusable


def test_a_server_that_retires_connections_says_so(serve: Serve) -> None:
    """GOAWAY after the greatest age: every answered request was answered, and no more are sent."""
    with Client(serve(max_connection_age_ms=100, max_connection_age_grace_ms=10_000)) as client:
        assert client.call(b"fine").body == b"fine"
        while client.wire.reusable:
            assert client.wire.feed(client.socket.recv(2**16)) is None
            client.send()


def test_it_answers_the_pings_of_an_impatient_server(serve: Serve) -> None:
    port = serve(keepalive_time_ms=50, keepalive_timeout_ms=2000, keepalive_permit_without_calls=1)
    with Client(port) as client:
        assert client.call(b"one").body == b"one"
        pings = 0
        while pings < 3:
            client.wire.feed(client.socket.recv(2**16))
            sent = client.wire.output()
            pings += sum(bytes(piece)[3] == h2.PING for piece in sent)
            for piece in sent:
                client.socket.sendall(piece)
        assert client.call(b"two").body == b"two"


# -- hand-made conversations

OK_HEADERS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
OK_TRAILERS = ((b"grpc-status", b"0"), (b"grpc-message", b""))
HELLO = h2.settings_frame({})


def headers(stream: int, fields: object, *, end: bool = False, encoder: Encoder | None = None) -> bytes:
    block = (encoder or Encoder()).encode(fields)
    return h2.frame(h2.HEADERS, h2.END_HEADERS | (h2.END_STREAM if end else 0), stream, block)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return h2.frame(h2.DATA, flags, stream, payload)


def u32(*numbers: int) -> bytes:
    return b"".join(h2.U32.pack(number) for number in numbers)


def good(stream: int = 1, body: bytes = b"pong") -> bytes:
    return headers(stream, OK_HEADERS) + data(stream, grpc_message(body)) + headers(stream, OK_TRAILERS, end=True)


def begun(body: bytes = b"ping", hello: bytes = HELLO) -> Http2Wire:
    """A wire whose first request was sent."""
    wire = Http2Wire()
    wire.begin(request(body))
    wire.output()
    assert wire.feed(hello) is None
    wire.output()
    return wire


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


def frames(sent: bytes) -> list[Frame]:
    sent = sent.removeprefix(h2.PREFACE)
    found, at = [], 0
    while at < len(sent):
        length, kind, flags, stream = h2.read_header(sent, at)
        found.append(Frame(kind, flags, stream, sent[at + 9 : at + 9 + length]))
        assert len(found[-1].payload) == length
        at += 9 + length
    return found


def drained(wire: Http2Wire) -> bytes:
    return b"".join(wire.output())


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
        (headers(1, ((b":status", b"503"),)), Outcome.HTTP_5XX, "HTTP 503"),
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


# -- fuzz

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
