"""Calibrating: what the client itself can do, for every protocol, and nothing left behind."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadgen.calibrate import Calibration, Kind, calibrate
from loadgen.job import Job
from loadgen.null.replies import ready_answer
from loadgen.null.running import null_server
from loadgen.pool import Pool
from loadgen.run import run_job
from nightbench.errors import NightbenchError
from nightbench.model import DType, TensorSpec
from nightbench.server import Endpoint, Protocol
from nightbench.stopping import Stopped
from tests.loadgen.conftest import INPUTS, OUTPUTS

OVER_A_WIRE = [protocol for protocol in Protocol if protocol is not Protocol.IN_PROCESS]
CHAT = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture
def kind(pool: Path, tmp_path: Path) -> Callable[[Protocol], Kind]:
    def make(protocol: Protocol) -> Kind:
        if protocol not in (Protocol.OPENAI, Protocol.OPAQUE_HTTP):
            return Kind(protocol, "m", INPUTS, OUTPUTS, 2, pool)
        body = TensorSpec("body", DType.UINT8, (len(CHAT),))
        path = tmp_path / "bodies.npz"
        np.savez(path, **{"in.body": np.frombuffer(CHAT, np.uint8)[np.newaxis]})
        return Kind(protocol, "m", (body,), (), 1, path, path="/v1/any", tokens=3)

    return make


def short(kind: Kind, **changes: object) -> Calibration:
    given: dict[str, object] = {"client_cpus": None, "server_cpus": None, "seconds": 0.05} | changes
    return calibrate(kind, **given)  # type: ignore[arg-type]  # the test names them


@pytest.mark.parametrize("protocol", OVER_A_WIRE)
def test_every_protocol_with_a_wire_has_a_ceiling_and_a_floor(
    protocol: Protocol, kind: Callable[[Protocol], Kind], tmp_path: Path
) -> None:
    root = tmp_path / "ours"
    root.mkdir()
    # Long enough for a quantile, also where others want the processors.
    found = short(kind(protocol), workdir_root=root, seconds=0.5)
    assert found.ceiling_rps.value > 0.0
    assert found.floor_ns["p50"].value > 0.0
    assert found.client_cpu_ns_per_request > 0.0
    assert found.server_cpu_ns_per_request > 0.0
    assert found.request_bytes > 0
    assert found.response_bytes > 0
    assert found.ceiling_by in ("client", "server")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "protocol", [Protocol.RAW_HTTP, Protocol.KSERVE_HTTP, Protocol.KSERVE_GRPC, Protocol.TFSERVING_GRPC]
)
def test_its_answers_are_the_references(
    protocol: Protocol, kind: Callable[[Protocol], Kind], job: Callable[..., Job], tmp_path: Path
) -> None:
    """Right for the pool's first items, which is all that a pool of one has."""
    one = replace(kind(protocol), batch=1)
    with np.load(one.pool) as items:
        np.savez(tmp_path / "one.npz", **{name: items[name][:1] for name in items.files})
    outputs = Pool.read(tmp_path / "one.npz", one.inputs, one.outputs).expected(0, 1)
    with null_server(ready_answer(protocol, outputs, one.outputs, 0), tmp_path) as server:
        endpoint = Endpoint(protocol, "127.0.0.1", server.port, "m")
        asked = job(server.port, endpoint=endpoint, pool=tmp_path / "one.npz", max_requests=20, verify_every=1)
        result = run_job(asked)
    assert (result.error, result.outcomes, result.verified, result.wrong) == (None, {"ok": 20}, 20, 0)


def test_several_workers_share_the_ceiling(kind: Callable[[Protocol], Kind]) -> None:
    assert short(kind(Protocol.RAW_HTTP), workers=2).ceiling_rps.value > 0.0


def test_both_sides_run_where_they_are_told(kind: Callable[[Protocol], Kind]) -> None:
    cpu = (min(os.sched_getaffinity(0)),)
    assert short(kind(Protocol.RAW_HTTP), client_cpus=cpu, server_cpus=cpu).ceiling_rps.value > 0.0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"protocol": Protocol.IN_PROCESS}, "in-process model has no null server"),
        ({"pool": Path("/nowhere/pool.npz")}, "/nowhere/pool.npz: cannot be read"),
    ],
)
def test_what_cannot_be_calibrated_is_said(
    kind: Callable[[Protocol], Kind], change: dict[str, object], error: str
) -> None:
    with pytest.raises(NightbenchError, match=error):
        short(replace(kind(Protocol.RAW_HTTP), **change))  # type: ignore[arg-type]  # the test names the fields


def test_an_engine_that_cannot_measure_is_an_error(kind: Callable[[Protocol], Kind]) -> None:
    with pytest.raises(NightbenchError, match="calibration: OSError"):
        short(kind(Protocol.RAW_HTTP), client_cpus=(100_000,))


def test_it_stops_when_told(kind: Callable[[Protocol], Kind], tmp_path: Path) -> None:
    root = tmp_path / "ours"
    root.mkdir()
    with pytest.raises(Stopped):
        short(kind(Protocol.RAW_HTTP), seconds=60.0, should_stop=lambda: True, workdir_root=root)
    assert list(root.iterdir()) == []
