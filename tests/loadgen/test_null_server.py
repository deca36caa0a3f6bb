"""The null server as the process it is: it serves, says what it used, and goes when its parent does."""

import socket
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from loadgen.null.replies import ReadyAnswer
from loadgen.null.running import null_server
from loadgen.wire.grpc import grpc_message
from loadgen.wire.http1 import request_bytes
from nightbench.errors import NightbenchError

BIG = 602_112
HELLO = ReadyAnswer("http1", (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",))


def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(2**20)):
        data += more
    return data


def test_requests_of_any_size_are_answered_on_one_connection(tmp_path: Path) -> None:
    with null_server(HELLO, tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        for size in (0, 100, 40_000, 5_000_000, 100):
            sock.sendall(request_bytes("/v1/predict", "127.0.0.1", server.port, {}, bytes(size)))
            assert received(sock, len(HELLO.pieces[0])) == HELLO.pieces[0]


def test_an_answer_that_the_client_is_slow_to_read_comes_whole(tmp_path: Path) -> None:
    """The kernel does not take it all at once."""
    body = np.random.default_rng(0).bytes(20_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    answer = ReadyAnswer("http1", (head, body[:1000], body[1000:]))
    with null_server(answer, tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        for _ in range(2):
            sock.sendall(request_bytes("/", "127.0.0.1", server.port, {}, b"x"))
            assert received(sock, len(head) + len(body)) == head + body


@pytest.mark.parametrize("size", [0, 100, BIG, 5_000_000])
def test_grpcs_own_client_gets_its_answers(tmp_path: Path, size: int) -> None:
    """Its windows are smaller than the larger answers, and its header compression is not ours."""
    answer = ReadyAnswer("grpc", (grpc_message(bytes(size)),))
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with (
        null_server(answer, tmp_path) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}", options=limits) as channel,
    ):
        call = channel.unary_unary("/any.Service/Call")
        assert [len(call(bytes(asked), timeout=60)) for asked in (0, BIG, 5_000_000)] == [size] * 3
        assert {len(future.result(60)) for future in [call.future(b"at once") for _ in range(8)]} == {size}


def test_one_client_that_talks_nonsense_does_not_disturb_the_others(tmp_path: Path) -> None:
    answer = ReadyAnswer("grpc", (grpc_message(b"pong"),))
    with null_server(answer, tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert sock.recv(100) == b""
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert channel.unary_unary("/any.Service/Call")(b"ping", timeout=60) == b"pong"


def test_it_says_what_it_used(tmp_path: Path) -> None:
    with null_server(HELLO, tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        before = server.cpu_ns()
        for _ in range(100):
            sock.sendall(request_bytes("/", "127.0.0.1", server.port, {}, b""))
            received(sock, len(HELLO.pieces[0]))
        assert server.cpu_ns() > before > 0


def test_its_folder_may_be_given_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with null_server(HELLO, Path()) as server:
        assert server.cpu_ns() > 0


def test_it_ends_with_its_standard_input(tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(b"")
    command = (sys.executable, "-m", "loadgen.null", "http1", str(tmp_path / "answer"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert int(process.stdout.readline()) > 0
        process.stdin.close()
        assert process.wait(30) == 0


def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(
            NightbenchError, match=r"calibration: the null server said nothing: null server: .*Invalid argument"
        ),
        null_server(HELLO, tmp_path, cpus=(100_000,)),
    ):
        pass


def test_it_needs_nothing_but_the_standard_library() -> None:
    script = (
        "import sys\n"
        "import loadgen.null.__main__\n"
        "foreign = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names\n"
        "assert foreign <= {'__main__', 'loadgen'}, foreign\n"
    )
    subprocess.run([sys.executable, "-S", "-c", script], check=True, cwd=Path(__file__).resolve().parents[2])
