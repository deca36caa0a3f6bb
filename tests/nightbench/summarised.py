"""Made-up records of one night, and the one cell they make."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from nightbench.figures import Doubt, Estimate
from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop, Load
from nightbench.model import Format, Precision
from nightbench.record import Case, DeploymentRecord, MeasurementRecord, Record, RunStarted
from nightbench.server import Protocol
from nightbench.summary import CellSummary, summarise

__all__ = ["ALONE", "NOW", "NS", "RATE", "STARTED", "case", "deployed", "measured", "only", "width"]

NOW = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
STARTED = RunStarted("run", "smoke", 42, NOW, "2 processors", {}, "name: smoke\n", 8)
ALONE = ClosedLoop(1)
RATE = Estimate(100.0, 99.0, 101.0)
NS = {"p50": Estimate(4e6, 3.9e6, 4.1e6), "p99": Estimate(9e6, 8e6, 11e6)}


def case(server: str = "triton", load: Load = ALONE, model: str = "resnet", batch: int = 1) -> Case:
    return Case(
        model=model,
        model_version=1,
        artifact_sha256="0" * 64,
        format=Format.ONNX,
        precision=Precision.FP32,
        server=server,
        options={},
        protocol=Protocol.RAW_HTTP,
        batch=batch,
        load=load,
        threads=1,
        hardware="2 processors",
        version=1,
    )


def measured(
    key: str,
    number: int,
    of: Case | None = None,
    rate: Estimate = RATE,
    latency: Mapping[str, Estimate] = NS,
    doubts: Sequence[Doubt] = (),
    latencies_ns: Sequence[int] = (1_000_000,),
) -> MeasurementRecord:
    of = of or case()
    return MeasurementRecord(
        run_id="run",
        cell_id=f"{key}.r{number}",
        round=number,
        deployment_id=f"{of.server}-{number}",
        case=of,
        started_at=NOW,
        warmup_ns=1,
        measured_ns=2,
        counts={"ok": 10, "timeout": 1},
        offered_rps=None,
        throughput_rps=rate,
        latency_ns=latency,
        service_ns=latency,
        lag_ns={},
        histogram=LatencyHistogram.from_ns(np.array(latencies_ns)).encode(),
        client_cpu_ns_per_request=None,
        telemetry=(),
        context={},
        doubts=tuple(doubts),
    )


def deployed(server: str, number: int, cold_s: float | None, failure: str | None = None) -> DeploymentRecord:
    return DeploymentRecord(
        run_id="run",
        deployment_id=f"{server}-{number}",
        round=number,
        server=server,
        server_version="2.51",
        environment="ab",
        model="resnet",
        format=Format.ONNX,
        precision=Precision.FP32,
        options={},
        started_at=NOW,
        cold_start_ns=None if cold_s is None else int(cold_s * 1e9),
        model_load_ns=None,
        rss_bytes=None if cold_s is None else int(cold_s * 2**20),
        limits={},
        log_path="log",
        failure=failure,
    )


def only(records: Iterable[Record]) -> CellSummary:
    (cell,) = summarise([STARTED, *records]).cells
    return cell


def width(estimate: Estimate | None) -> float:
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return math.log(estimate.high / estimate.low)
