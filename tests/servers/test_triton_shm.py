"""System shared memory with the real tritonserver: right answers under load, and nothing registered afterwards."""

import json
import os
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from launch.workdir import SHARED_MEMORY
from loadgen.engine import run
from loadgen.job import Job
from loadgen.protocols import codec_for
from loadgen.protocols.exchange import exchange
from nightbench.load import ClosedLoop, OpenLoop, Step
from nightbench.model import Format
from nightbench.samples import Outcome
from nightbench.server import Endpoint, Protocol
from tests.servers.running import Running, Start
from tests.servers.toy import MODEL, inputs, reference

PROTOCOLS = {Protocol.KSERVE_HTTP_SHM: "http", Protocol.KSERVE_GRPC_SHM: "grpc"}


@pytest.fixture(scope="module")
def server(start: Start) -> Running:
    return start("triton", Format.ONNX, "/v2/health/ready", dynamic_batching=True)


def endpoint(server: Running, protocol: Protocol) -> Endpoint:
    return Endpoint(protocol, "127.0.0.1", server.port(PROTOCOLS[protocol]), "toy")


def registered(server: Running) -> list[str]:
    with urlopen(f"http://127.0.0.1:{server.port()}/v2/systemsharedmemory/status", timeout=5) as answer:
        return [region["name"] for region in json.load(answer)]


@pytest.mark.parametrize("load", [ClosedLoop(8), OpenLoop(400.0)], ids=["closed", "open"])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_every_answer_under_load_is_its_own(server: Running, tmp_path: Path, protocol: Protocol, load: Step) -> None:
    image, ids = inputs(16, seed=1)
    scores, doubled = reference(image, ids)
    pool = tmp_path / "pool.npz"
    np.savez(pool, **{"in.image": image, "in.ids": ids, "out.scores": scores, "out.doubled": doubled})
    result = run(
        Job(
            endpoint=endpoint(server, protocol),
            load=load,
            batch=3,
            inputs=MODEL.inputs,
            outputs=MODEL.outputs,
            pool=pool,
            tolerance=MODEL.tolerance,
            duration_s=30.0,
            samples=tmp_path / "samples.npz",
            verify_every=1,
            max_requests=300,
        )
    )
    assert result.outcomes == {"ok": 300}, result.detail
    assert (result.verified, result.wrong) == (300, 0), result.detail
    assert not registered(server)
    assert not list(SHARED_MEMORY.glob(f"nightbench-{os.getpid()}-shm-*"))


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_what_it_refuses_is_an_outcome(server: Running, protocol: Protocol) -> None:
    asked = endpoint(server, protocol)
    made = codec_for(asked, MODEL.inputs, MODEL.outputs, 33)
    image, ids = inputs(33)
    request = made.prepare({"image": image, "ids": ids})
    reply = exchange(made.wire(), request, asked.host, asked.port, 30)
    assert reply.outcome in {Outcome.HTTP_4XX, Outcome.RPC_ERROR}
    assert "batch-size must be <= 32" in reply.detail
    made.close()
    assert not registered(server)
