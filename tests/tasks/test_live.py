"""Deployments that are up are told to other processes, and no others."""

from pathlib import Path

from nightbench.model import Format, Precision
from nightbench.plan import Export, Replicate, Setup
from nightbench.server import Deployment, Endpoint, Protocol
from tasks.live import Live, announced, live_deployments

SETUP = Setup("triton", Export("resnet50", Format.ONNX, Precision.FP16, "random"), ())
REPLICATE = Replicate("triton-r1-ab12cd", 1, SETUP, ())


def _deployment(*protocols: Protocol) -> Deployment:
    endpoints = {each: Endpoint(each, "127.0.0.1", 8000, "resnet50") for each in protocols}
    return Deployment("triton", endpoints, 1, 0, 0, 0, "2.51", "ab12", Path("log"))


def test_all_that_is_needed_to_ask_it_is_told(tmp_path: Path) -> None:
    live = Live.of("night-1", REPLICATE, _deployment(Protocol.KSERVE_GRPC, Protocol.KSERVE_HTTP))
    folder = tmp_path / "live"
    assert live_deployments(folder) == []
    with announced(folder, live):
        assert live_deployments(folder) == [live]
    assert live_deployments(folder) == []
    assert (live.model, live.precision) == ("resnet50", Precision.FP16)
    assert list(live.endpoints) == [Protocol.KSERVE_GRPC, Protocol.KSERVE_HTTP]


def test_what_the_load_engine_hosts_cannot_be_asked() -> None:
    assert Live.of("night-1", REPLICATE, _deployment(Protocol.IN_PROCESS)).endpoints == {}


def test_a_folder_that_cannot_be_written_costs_the_announcement_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with announced(tmp_path / "file" / "live", Live.of("night-1", REPLICATE, _deployment(Protocol.RAW_HTTP))):
        assert live_deployments(tmp_path / "file" / "live") == []
