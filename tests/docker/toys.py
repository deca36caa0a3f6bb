"""Toy servers for containers: small scripts that run on the base image, laid out where the artifact is mounted."""

from pathlib import Path

from launch.environment import Environment
from launch.request import LaunchRequest
from nightbench.model import Artifact, Format, ModelSpec, Precision, Tolerance
from nightbench.server import Command, Limits, Protocol, ServeRequest, ServerSpec, Stop
from tests.docker.base import BASE

SERVE = """
import os, signal, socket, sys, threading, time
from pathlib import Path
port = int(sys.argv[1])
def serve(answer=b"right"):
    with socket.create_server(("0.0.0.0", port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)
"""


def make_request(root: Path, body: str = "serve()", deployment: str = "d1", **changes: object) -> LaunchRequest:
    """A launch of a toy that does ``body``. ``changes`` are fields of the request or its spec, or ``from_image``."""
    folder = root / deployment
    folder.mkdir(exist_ok=True)
    (root / "workdirs").mkdir(exist_ok=True)
    (root / "servers" / "toy").mkdir(parents=True, exist_ok=True)
    script = folder / "toy.py"
    script.write_text(SERVE + body)

    def command(request: ServeRequest) -> Command:
        ports = [str(port) for port in request.ports.values()]
        return Command((str(request.python), "-u", str(script), *ports))

    of_spec = {
        "name": "toy",
        "title": "Toy",
        "folder": root / "servers" / "toy",
        "distribution": "toy",
        "formats": (Format.ONNX,),
        "protocols": {Protocol.RAW_HTTP: "http"},
        "command": command,
        "ready_timeout_s": 20.0,
        "stop": Stop(grace_s=2.0),
    }
    of_spec |= {name: changes.pop(name) for name in tuple(changes) if name in ServerSpec.__dataclass_fields__}
    image = str(changes.pop("from_image", BASE))
    facts: dict[str, object] = {
        "spec": ServerSpec(**of_spec),  # type: ignore[arg-type]  # a test names the facts it changes
        "model": ModelSpec("net", "toys", 1, (), (), Tolerance(0, 0)),
        "artifact": Artifact("net", Format.ONNX, Precision.FP32, "random", folder / "net.onnx", "0" * 64, 1),
        "options": {},
        "threads": 1,
        "limits": Limits(),
        "environment": Environment(Path("/usr/bin/python3"), folder, "image", "1.0", False, 0, image),
        "run_id": "r1",
        "deployment_id": deployment,
        "log_path": folder / "server.log",
        "workdir_root": root / "workdirs",
    }
    return LaunchRequest(**{**facts, **changes})  # type: ignore[arg-type]  # as above
