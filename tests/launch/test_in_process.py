"""Servers that the load engine hosts: nothing is started, and the same failures are told apart."""

import os
from pathlib import Path

import pytest

from launch.process import ProcessLauncher, alive
from nightbench.errors import DeploymentError
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance
from nightbench.server import (
    Endpoint,
    Limits,
    ProbeResult,
    ProbeStatus,
    Protocol,
)
from nightbench.stopping import Stopped
from tests.launch.toys import make_request

LAUNCHER = ProcessLauncher()


def test_in_process_starts_nothing(root: Path) -> None:
    asked: list[Endpoint] = []

    def engine(endpoint: Endpoint, timeout_s: float) -> ProbeResult:
        asked.append(endpoint)
        return ProbeResult(ProbeStatus.READY, model_load_ns=7, rss_bytes=8)

    outputs = tuple(TensorSpec(name, DType.FP32, (1,)) for name in ("logits", "pooled"))
    request = make_request(
        root,
        protocols={Protocol.IN_PROCESS: ""},
        ports=(),
        model=ModelSpec("net", "toys", 1, (), outputs, Tolerance(0, 0)),
        limits=Limits(cpus=(0,)),
        threads=2,
    )
    with LAUNCHER.launch(request, engine) as deployment:
        assert alive(deployment)
    (endpoint,) = asked
    assert endpoint == deployment.endpoints[Protocol.IN_PROCESS]
    assert endpoint.module == request.spec.folder / "serve.py"
    assert endpoint.artifact == request.artifact.path
    assert endpoint.options == {"outputs": "logits,pooled"}
    assert endpoint.threads == 2
    assert endpoint.command == (str(request.environment.python),)
    assert (deployment.pid, deployment.model_load_ns, deployment.rss_bytes) == (None, 7, 8)
    assert deployment.limits == {"cpus": "affinity 0"}


def test_in_process_limits_are_held_as_far_as_claimed(root: Path) -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    seen: list[set[int]] = []

    def engine(_endpoint: Endpoint, _timeout_s: float) -> ProbeResult:
        seen.append(os.sched_getaffinity(0))  # what the engine it starts inherits
        return ProbeResult(ProbeStatus.READY)

    limits = Limits(cpus=(cpu,), memory_bytes=1)
    request = make_request(root, protocols={Protocol.IN_PROCESS: ""}, ports=(), limits=limits)
    with LAUNCHER.launch(request, engine) as deployment:
        assert os.sched_getaffinity(0) == before
    assert seen == [{cpu}]
    assert deployment.limits == {
        "cpus": f"affinity {cpu}",
        "memory": "not enforced: the load engine hosts the model",
    }


def test_in_process_is_told_to_stop(root: Path) -> None:
    request = make_request(root, protocols={Protocol.IN_PROCESS: ""}, ports=())
    with pytest.raises(Stopped):
        LAUNCHER.launch(request, lambda *_: ProbeResult(ProbeStatus.NOT_YET), lambda: True).__enter__()


@pytest.mark.parametrize(("status", "kind"), [("wrong", "wrong_answer"), ("not_yet", "not_ready"), ("failed", "died")])
def test_in_process_failures(root: Path, status: str, kind: str) -> None:
    request = make_request(root, protocols={Protocol.IN_PROCESS: ""}, ports=())
    with pytest.raises(DeploymentError, match=f"{kind}: no torch"):
        LAUNCHER.launch(request, lambda *_: ProbeResult(ProbeStatus(status), "no torch")).__enter__()
