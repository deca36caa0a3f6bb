"""Toy servers: small scripts, and a prober that asks them one plain question."""

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from launch.environment import Environment
from launch.processes import look_up
from launch.request import LaunchRequest
from nightbench.model import Artifact, Format, ModelSpec, Precision, Tolerance
from nightbench.server import (
    Command,
    Endpoint,
    Limits,
    ProbeResult,
    ProbeStatus,
    Protocol,
    ServeRequest,
    ServerSpec,
    Stop,
)

SERVE = """
import os, socket, sys, time
from pathlib import Path
port = int(sys.argv[1])
def serve(answer=b"right"):
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)
"""
"""What every toy begins with; `serve` answers each connection with one word."""


def ask(endpoint: Endpoint, timeout_s: float) -> ProbeResult:
    """A prober for the toys."""
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s) as connection:
            answer = connection.recv(100).decode()
    except OSError as error:
        return ProbeResult(ProbeStatus.NOT_YET, str(error))
    if answer == "right":
        return ProbeResult(ProbeStatus.READY)
    return ProbeResult(ProbeStatus.WRONG, f"it said {answer!r}")


def runs(pid: int) -> bool:
    seen = look_up(pid)
    return seen is not None and not seen.zombie


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Wait for something another process does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def make_spec(folder: Path, body: str, **changes: object) -> ServerSpec:
    """A server whose script is `SERVE` and then ``body``."""
    script = folder / "toy.py"
    script.write_text(SERVE + body)

    def command(request: ServeRequest) -> Command:
        ports = [str(port) for port in request.ports.values()]
        return Command((str(request.python), str(script), *ports), {"SCRATCH": str(folder)})

    facts: dict[str, object] = {
        "name": "toy",
        "title": "Toy",
        "folder": folder,
        "distribution": "toy",
        "formats": (Format.ONNX,),
        "protocols": {Protocol.RAW_HTTP: "http"},
        "command": command,
        "ready_timeout_s": 10.0,
        "stop": Stop(grace_s=2.0),
    }
    return ServerSpec(**{**facts, **changes})  # type: ignore[arg-type]  # a test names the facts it changes


def make_request(root: Path, body: str = "serve()", deployment: str = "d1", **changes: object) -> LaunchRequest:
    """A launch of a toy that does ``body``, keeping its files under ``root``.

    ``changes`` are fields of the request, or of its server's spec.
    """
    folder = root / deployment
    folder.mkdir(exist_ok=True)
    of_spec = {name: changes.pop(name) for name in tuple(changes) if name in ServerSpec.__dataclass_fields__}
    facts: dict[str, object] = {
        "spec": make_spec(folder, body, **of_spec),
        "model": ModelSpec("net", "toys", 1, (), (), Tolerance(0, 0)),
        "artifact": Artifact("net", Format.ONNX, Precision.FP32, "random", folder / "net.onnx", "0" * 64, 1),
        "options": {},
        "threads": 1,
        "limits": Limits(),
        "environment": Environment(Path(sys.executable), folder, "host", "1.0", built=False, build_ns=0),
        "run_id": "r1",
        "deployment_id": deployment,
        "log_path": folder / "logs" / "server.log",
        "workdir_root": root / "workdirs",
    }
    (root / "workdirs").mkdir(exist_ok=True)
    return LaunchRequest(**{**facts, **changes})  # type: ignore[arg-type]  # as above
