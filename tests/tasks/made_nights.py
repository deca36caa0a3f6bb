"""Nights made up for the gate: a plan, and records that fit it and each other unless told otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from nightbench.figures import Estimate, SearchFigures, StreamFigures
from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop, Goal, Load, OpenLoop, Search
from nightbench.model import Format, Precision
from nightbench.plan import Cell, Export, Point, Setup, expand
from nightbench.record import (
    Case,
    MeasurementRecord,
    MissingRecord,
    Record,
    RunFinished,
    RunStarted,
    WireParityRecord,
)
from nightbench.server import Protocol

RUN = "20261120-013000-made-up"
HARDWARE = "AMD EPYC x2"
START = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
TIMEOUT_NS = 10_000_000_000
SENDING_NS = 12_000_000_000
WINDOW_NS = 10_000_000_000
LEVELS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def plan(closed: int = 12, opened: int = 4, rounds: int = 3) -> tuple[Cell, ...]:
    """Closed loops of 1, 2, ... clients and open loops of 50, 100, ... requests a second."""
    setup = Setup("toy", Export("tiny", Format.ONNX, Precision.FP32, "random"), ())
    loads = [*(ClosedLoop(number + 1) for number in range(closed)), *(OpenLoop(50.0 * (n + 1)) for n in range(opened))]
    points: list[Point] = [(Protocol.RAW_HTTP, 1, load) for load in loads]
    return expand({setup: points}, rounds, seed=1).cells


def started(run_id: str = RUN, planned: int = 48) -> RunStarted:
    return RunStarted(run_id, "made-up", 1, START, HARDWARE, {}, "name: made-up\n", planned)


def finished(run_id: str = RUN) -> RunFinished:
    return RunFinished(run_id, START + timedelta(hours=1), "completed", {})


def measured(cell: Cell, *, run_id: str = RUN, slower: float = 1.0) -> MeasurementRecord:
    """Lognormal latencies around 4 ms; an open loop is answered at the rate that it is asked."""
    draw = np.random.default_rng([int(cell.key, 16), cell.round])
    rate = cell.load.rate_rps if isinstance(cell.load, OpenLoop) else 240.0 * cell.load.size
    latency = (slower * 4e6 * np.exp(0.3 * draw.standard_normal(round(rate * WINDOW_NS * 1e-9)))).astype(np.int64)
    lag = 20_000 if isinstance(cell.load, OpenLoop) else 0
    return MeasurementRecord(
        run_id=run_id,
        cell_id=cell.cell_id,
        round=cell.round,
        deployment_id=f"toy-r{cell.round}",
        case=_case(cell.load),
        started_at=START,
        warmup_ns=SENDING_NS - WINDOW_NS,
        measured_ns=WINDOW_NS,
        counts={"ok": len(latency)},
        offered_rps=len(latency) / (WINDOW_NS * 1e-9) if isinstance(cell.load, OpenLoop) else None,
        throughput_rps=Estimate(rate, 0.98 * rate, 1.02 * rate),
        latency_ns=_quantiles(latency),
        service_ns=_quantiles(latency - lag),
        lag_ns={"p50": float(lag), "p99": float(lag), "p999": float(lag)},
        histogram=LatencyHistogram.from_ns(latency).encode(),
        client_cpu_ns_per_request=50_000.0,
        telemetry=(),
        context={},
    )


def missing(cell: Cell) -> MissingRecord:
    return MissingRecord(
        run_id=RUN,
        cell_id=cell.cell_id,
        round=cell.round,
        server="toy",
        model="tiny",
        format=Format.ONNX,
        precision=Precision.FP32,
        options={},
        protocol=cell.protocol,
        batch=cell.batch,
        load=cell.load,
        reason="deployment_failed",
        detail="it did not start",
    )


def streamed(record: MeasurementRecord) -> MeasurementRecord:
    ttft = {name: Estimate(0.5 * each.value) for name, each in record.latency_ns.items()}
    # Tokens that come together are 0 ns apart.
    itl = dict.fromkeys(LEVELS, Estimate(0.0)) | {"p99": Estimate(8e5)}
    return replace(record, stream=StreamFigures(ttft, itl, 10_000, Estimate(1000.0), Estimate(99.0), {"ttft_ms": 50.0}))


def searched(record: MeasurementRecord) -> MeasurementRecord:
    case = replace(record.case, load=Search(Goal.PEAK))
    return replace(record, case=case, search=SearchFigures((), 0, record.throughput_rps, "it fell off"))


def answered(run_id: str = RUN, nrmse: float = 2e-7, deployment: str = "toy-r1") -> WireParityRecord:
    return WireParityRecord(
        run_id=run_id,
        deployment_id=deployment,
        model="tiny",
        format=Format.ONNX,
        precision=Precision.FP32,
        artifact_sha256="0" * 64,
        server="toy",
        protocol=Protocol.RAW_HTTP,
        batch=1,
        output="logits",
        max_abs=10.0 * nrmse,
        max_rel=1e-5,
        rmse=nrmse,
        nrmse=nrmse,
        cosine=1.0,
        top1_agreement=1.0,
        top5_agreement=1.0,
        items=8,
        answered=True,
        passed=True,
    )


def night(cells: Sequence[Cell], *, run_id: str = RUN, slower: float = 1.0, nrmse: float = 2e-7) -> list[Record]:
    """A sound one."""
    timed = [measured(cell, run_id=run_id, slower=slower) for cell in cells]
    return [started(run_id, len(cells)), answered(run_id, nrmse), *timed, finished(run_id)]


def _quantiles(values: np.ndarray) -> dict[str, Estimate]:
    found = np.quantile(values, list(LEVELS.values())).tolist()
    return {name: Estimate(value, 0.98 * value, 1.02 * value) for name, value in zip(LEVELS, found, strict=True)}


def _case(load: Load) -> Case:
    return Case(
        model="tiny",
        model_version=1,
        artifact_sha256="0" * 64,
        format=Format.ONNX,
        precision=Precision.FP32,
        server="toy",
        options={},
        protocol=Protocol.RAW_HTTP,
        batch=1,
        load=load,
        threads=1,
        hardware=HARDWARE,
        version=1,
    )
