"""One real server process, started as a launcher would and watched for what it leaves behind."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil

from launch.environment import ensure_environment
from launch.workdir import SHARED_MEMORY, remove_segments
from nightbench.model import Artifact
from nightbench.server import OptionValue, ServeRequest, ServerSpec
from nightbench.settings import Settings
from tests.servers.toy import MODEL


@dataclass(frozen=True)
class Running:
    """One server under test."""

    request: ServeRequest
    process: subprocess.Popen[bytes]
    log: Path

    def port(self, name: str = "http") -> int:
        return self.request.ports[name]

    def tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]


Start = Callable[..., Running]


def serve_request(spec: ServerSpec, artifact: Artifact, workdir: Path, **options: OptionValue) -> ServeRequest:
    settings = Settings.from_environment()
    environment = ensure_environment(spec, settings.server_environments, "pinned", lambda _: None, workdir / "uv.log")
    return ServeRequest(
        model=MODEL,
        artifact=artifact,
        options=spec.resolve(options),
        threads=1,
        host="127.0.0.1",
        ports=free_ports(spec.ports),
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=environment.python,
        site_packages=environment.site_packages,
    )


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(closing(socket.socket())) for name in names}
        for taken in sockets.values():
            taken.bind(("127.0.0.1", 0))
        return {name: taken.getsockname()[1] for name, taken in sockets.items()}


@contextmanager
def running(request: ServeRequest, spec: ServerSpec, health: str) -> Iterator[Running]:
    command = spec.command(request)
    log = request.workdir / "server.log"
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(request.workdir),
        "LANG": "C.UTF-8",
        "ORT_DISABLE_TELEMETRY": "1",
        **command.env,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command.argv, env=env, stdout=output, stderr=output)
    server = Running(request, process, log)
    tree = server.tree()
    try:
        _wait_until_healthy(server, health)
        tree = server.tree()
        yield server
        process.send_signal(getattr(signal, spec.stop.signal))
        process.wait(spec.stop.grace_s)
        _, alive = psutil.wait_procs(tree, timeout=1)
        left = [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
        assert not left, f"{spec.name} left {left}"
        segments = [path.name for path in SHARED_MEMORY.glob(f"{request.workdir.name}*")]
        assert not segments, f"{spec.name} left {segments}"
    finally:
        if process.poll() is None:
            tree = server.tree()
        for one in tree:
            if one.is_running():
                one.kill()
        process.wait()
        remove_segments(lambda name: name.startswith(request.workdir.name))


def _wait_until_healthy(server: Running, path: str, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if status(server.port(), path) == 200:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not ready: {server.log.read_text()[-2000:]}")


def status(port: int, path: str) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status
