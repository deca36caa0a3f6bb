"""The HTTP/2 wire against a real gRPC server."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from loadgen.wire import h2_frames as h2
from loadgen.wire.base import Reply
from loadgen.wire.http2 import Http2Wire
from nightbench.samples import Outcome
from tests.loadgen.h2_talk import (
    BIG,
    WINDOW,
    request,
)


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
