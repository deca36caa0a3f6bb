"""A small server that can misbehave on purpose, and jobs that talk to it."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from loadgen.job import Job
from nightbench.load import ClosedLoop
from nightbench.model import DType, TensorSpec, Tolerance
from nightbench.server import Endpoint, Protocol

RESET, CLOSE, HANG = "reset", "close", "hang"
Action = bytes | str
"""What a server does with a request: bytes to send, or one of the names above."""

INPUTS = (TensorSpec("x", DType.FP32, (3,)),)
OUTPUTS = (TensorSpec("y", DType.FP32, (3,)),)


def http(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def right(_number: int, body: bytes) -> Action:
    """The reference's answer."""
    return http((np.frombuffer(body, "<f4") * 2 + 1).astype("<f4").tobytes())


@dataclass
class FakeServer:
    """Speaks raw HTTP; ``behave`` is given the number and the body of each request."""

    behave: Callable[[int, bytes], Action] = right
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> "FakeServer":
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    # The client may have reset it while its request was waiting here.
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock.makefile("rb") as file:
                while line := file.readline():
                    headers = {}
                    while (header := file.readline().strip()) != b"":
                        name, _, value = header.partition(b":")
                        headers[name.lower()] = value.strip()
                    body = file.read(int(headers[b"content-length"]))
                    assert line.startswith(b"POST ")
                    with self._lock:
                        number = len(self.bodies)
                        self.bodies.append(body)
                    if not self._act(sock, self.behave(number, body)):
                        return
        except OSError:
            return
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _act(self, sock: socket.socket, action: Action) -> bool:
        if action == RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if action == CLOSE:
            return False
        if action == HANG:
            return True
        assert isinstance(action, bytes)
        sock.sendall(action)
        return b"Connection: close" not in action


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Five items of ``y = 2 x + 1``."""
    path = tmp_path / "pool.npz"
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("<f4")
    np.savez(path, **{"in.x": x, "out.y": x * 2 + 1})
    return path


@pytest.fixture
def free_port() -> int:
    """A port nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def job(pool: Path, tmp_path: Path) -> Callable[..., Job]:
    """A job against a port; keyword arguments replace fields."""

    def make(port: int, **fields: object) -> Job:
        values: dict[str, object] = {
            "endpoint": Endpoint(Protocol.RAW_HTTP, "127.0.0.1", port, "m"),
            "load": ClosedLoop(2),
            "batch": 1,
            "inputs": INPUTS,
            "outputs": OUTPUTS,
            "pool": pool,
            "tolerance": Tolerance(1e-6, 1e-6),
            "duration_s": 30.0 if "max_requests" in fields else 0.2,
            "samples": tmp_path / "samples.npz",
            "timeout_s": 10.0,
        }
        return Job(**(values | fields))  # type: ignore[arg-type]  # the test names the fields

    return make


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeServer]]:
    """Start servers that end with the test."""
    running: list[FakeServer] = []

    def start(behave: Callable[[int, bytes], Action] = right, port: int = 0) -> FakeServer:
        server = FakeServer(behave, port).__enter__()
        running.append(server)
        return server

    yield start
    for server in running:
        server.__exit__()
