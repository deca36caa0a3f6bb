"""A server that is running already is found, asked, and left as it was."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launch.external import ExternalLauncher, no_environment
from launch.process import ProcessLauncher, alive
from launch.request import LaunchRequest
from nightbench.errors import DeploymentError
from nightbench.server import EXTERNAL, Endpoint, Limits, ProbeResult, ProbeStatus, Protocol
from nightbench.stopping import Stopped
from tests.launch.toys import ask, make_request

LAUNCHER = ExternalLauncher()


def request_for(root: Path, port: int, **changes: object) -> LaunchRequest:
    endpoint = Endpoint(Protocol.RAW_HTTP, "127.0.0.1", port)
    return make_request(
        root,
        deployment="external",
        external=endpoint,
        ready_timeout_s=0.3,
        ports=(),
        environment=no_environment(),
        **changes,
    )


@pytest.fixture
def running(root: Path) -> Iterator[tuple[int, int]]:
    """A server that somebody else started: its process and its port."""
    with ProcessLauncher().launch(make_request(root), ask) as deployment:
        assert deployment.pid is not None
        yield deployment.pid, deployment.endpoints[Protocol.RAW_HTTP].port


def test_it_is_measured_and_left_running(root: Path, running: tuple[int, int]) -> None:
    pid, port = running
    request = request_for(root, port, limits=Limits(cpus=(0,), memory_bytes=1))
    with LAUNCHER.launch(request, ask) as deployment:
        assert deployment.endpoints[Protocol.RAW_HTTP].port == port
        assert deployment.endpoints[Protocol.RAW_HTTP].model == "net"
        # Known, so that its processor time is not taken for foreign load.
        assert deployment.pid == pid
        assert deployment.environment == EXTERNAL
        assert (deployment.cold_start_ns, deployment.rss_bytes, deployment.in_process) == (None, None, False)
        assert all("not enforced" in held for held in deployment.limits.values())
        assert set(deployment.limits) == {"cpus", "memory"}
    assert alive(deployment)
    assert ask(deployment.endpoints[Protocol.RAW_HTTP], 1.0).status is ProbeStatus.READY


def test_its_own_name_for_the_model_is_used(root: Path, running: tuple[int, int]) -> None:
    request = request_for(root, running[1])
    assert request.spec.external is not None
    named = replace(request, spec=replace(request.spec, external=replace(request.spec.external, model="resnet")))
    with LAUNCHER.launch(named, ask) as deployment:
        assert deployment.endpoints[Protocol.RAW_HTTP].model == "resnet"


def test_one_that_is_not_there_is_not_ready(root: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(DeploymentError) as caught, LAUNCHER.launch(request_for(root, free.getsockname()[1]), ask):
            pass
    assert caught.value.kind == "not_ready"


def test_one_that_answers_wrongly_is_not_measured(root: Path, running: tuple[int, int]) -> None:
    def wrong(_: Endpoint, _timeout_s: float) -> ProbeResult:
        return ProbeResult(ProbeStatus.WRONG, "output 'y' differs")

    with pytest.raises(DeploymentError) as caught, LAUNCHER.launch(request_for(root, running[1]), wrong):
        pass
    assert (caught.value.kind, caught.value.detail) == ("wrong_answer", "output 'y' differs")


def test_waiting_for_it_can_be_stopped(root: Path) -> None:
    with pytest.raises(Stopped), LAUNCHER.launch(request_for(root, 1), ask, lambda: True):
        pass


def test_we_are_never_taken_for_it(root: Path) -> None:
    """Telemetry would count the client's processor time as the server's."""
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        request = request_for(root, ours.getsockname()[1])
        with LAUNCHER.launch(request, lambda *_: ProbeResult(ProbeStatus.READY)) as deployment:
            assert deployment.pid is None
            assert alive(deployment)


def test_of_a_tree_the_root_is_taken(root: Path) -> None:
    """A parent and its forked worker listen on one socket."""
    script = (
        "import os, socket, time\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "os.fork() or time.sleep(60)\n"
        "print(s.getsockname()[1], flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            request = request_for(root, int(process.stdout.readline()))
            with LAUNCHER.launch(request, lambda *_: ProbeResult(ProbeStatus.READY)) as deployment:
                assert deployment.pid == process.pid
        finally:
            os.killpg(process.pid, 9)
