"""That a container's limits bite, shown on scripts that try to get more."""

import socket
import time
from pathlib import Path

from benchmarks.machine import Cpus
from launch.docker import DockerLauncher
from launch.engine import Engine
from launch.environment import Environment
from launch.request import LaunchRequest
from loadgen.telemetry import Telemetry
from nightbench.errors import DeploymentError
from nightbench.model import Artifact, Format, ModelSpec, Precision, Tolerance
from nightbench.server import Command, Endpoint, Limits, ProbeResult, ProbeStatus, Protocol, ServeRequest, ServerSpec
from nightbench.settings import Settings

__all__ = ["say_limits"]

_MIB = 2**20
_LISTEN = "import os, socket, sys\nlistener = socket.create_server(('0.0.0.0', int(sys.argv[1])))\n"
_ANSWER = "while True:\n    listener.accept()[0].close()\n"
_SPIN = "for _ in range(2):\n    if os.fork() == 0:\n        while True: pass\n"
_GROW = "kept = []\nwhile True: kept.append(bytearray(8 << 20))\n"
_WATCHED_S = 3.0


def say_limits(engine: Engine, cpus: Cpus, folder: Path) -> None:
    """Print what came of both."""
    print("\nlimits")
    request = _request(folder, "spin", _LISTEN + _SPIN + _ANSWER, Limits(cpus.server))
    with DockerLauncher(engine).launch(request, _ask) as deployment:
        with Telemetry(deployment.pid, None, 0.25, contained=True) as telemetry:
            begun_ns = time.monotonic_ns()
            time.sleep(_WATCHED_S)
        found = telemetry.series(begun_ns, time.monotonic_ns())
    used = next((each.values for each in found if each.metric == "container_cpu_percent"), ())
    print(f"  two spinning processes on processors {cpus.server}: {max(used):.0f} % of one at the most")
    limit = 96 * _MIB
    begun = time.monotonic()
    try:
        with DockerLauncher(engine).launch(_request(folder, "grow", _GROW, Limits(None, limit)), _ask):
            print("  NOT HELD: a server that grows without end came up")
    except DeploymentError as error:
        print(f"  one that grows without end: {error.detail}; over in {time.monotonic() - begun:.1f} s")


def _ask(endpoint: Endpoint, timeout_s: float) -> ProbeResult:
    try:
        socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s).close()
    except OSError as error:
        return ProbeResult(ProbeStatus.NOT_YET, str(error))
    return ProbeResult(ProbeStatus.READY)


def _request(folder: Path, name: str, script: str, limits: Limits) -> LaunchRequest:
    """A script on the images' own base."""
    there, kit = folder / name, folder / f"{name}-kit"
    there.mkdir()
    kit.mkdir()
    (there / "script.py").write_text(script)

    def command(request: ServeRequest) -> Command:
        return Command(("python3", str(there / "script.py"), str(request.ports["http"])))

    base = Settings.from_environment().image_base
    protocols = {Protocol.RAW_HTTP: "http"}
    return LaunchRequest(
        spec=ServerSpec(name, name, kit, name, (Format.ONNX,), protocols, command, ready_timeout_s=30.0),
        model=ModelSpec("none", "none", 1, (), (), Tolerance(0, 0)),
        artifact=Artifact("none", Format.ONNX, Precision.FP32, "random", there / "none", "0" * 64, 1),
        options={},
        threads=1,
        limits=limits,
        environment=Environment(Path("python3"), there, "base", "", False, 0, base, base),
        run_id="benchmark",
        deployment_id=name,
        log_path=folder / f"{name}.log",
    )
