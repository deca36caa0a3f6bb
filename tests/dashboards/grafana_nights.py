"""Three weeks of nights for the dashboards: a step, a doubted night, a hole, failures, GPUs, and much that is fine."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from db.store import Store
from nightbench.figures import Doubt, Estimate, Reason, Series
from nightbench.histogram import LatencyHistogram
from nightbench.judge.alert import AlertKind, AlertState, Finding, Member
from nightbench.judge.points import points_of
from nightbench.judge.series import ChangePoint, Metric, SeriesKey
from nightbench.judge.verdict import Change, Outcome, Verdict
from nightbench.load import ClosedLoop
from nightbench.model import Format, Precision
from nightbench.record import (
    CanaryRecord,
    Case,
    ConfirmationRecord,
    DeploymentRecord,
    JudgementRecord,
    MeasurementRecord,
    MissingRecord,
    Record,
    RunFinished,
    RunStarted,
)
from nightbench.server import Protocol
from nightbench.summary import summarise

__all__ = ["DEVICE", "FIRST", "LAST", "MODEL", "NIGHTS", "SLOWER", "SPLIT", "SUITE", "fill", "run_id"]

SUITE = "nightly"
DEVICE = "1 x NVIDIA H200, 16 cpus"
FIRST = datetime(2026, 10, 30, 2, tzinfo=UTC)
NIGHTS = 21
HOLE = {9, 10}
"""Nights that never ran."""
DOUBTED = 6
STEP = 15
"""The night from which onnxruntime is 12 % slower."""
LAST = FIRST + timedelta(days=NIGHTS - 1)
BATCHES = (1, 4, 8, 16, 32)
SERVERS = {
    "triton": ("2.51.0", Protocol.KSERVE_GRPC, 2.1),
    "onnxruntime": ("1.31.1", Protocol.RAW_HTTP, 2.6),
    "fastapi": ("0.150.2", Protocol.RAW_HTTP, 6.3),
}
MODEL = "resnet50"
ROUNDS = (1, 2)
_S = 1_000_000_000


def run_id(number: int) -> str:
    return f"{FIRST + timedelta(days=number):%Y%m%d-%H%M%S}-{SUITE}-{number:04x}"


def fill(store: Store) -> None:
    """Store every night as a night stores itself, and say of the step what the judge says of one."""
    draw = np.random.default_rng(11)
    for number in range(NIGHTS):
        if number not in HOLE:
            _store(store, number, list(_night(number, draw)))
    _judge(store)


def _store(store: Store, number: int, records: list[Record]) -> None:
    refused = store.ingest(records).refused
    assert not refused, refused
    points = points_of(summarise(records), SUITE)
    store.put_points(run_id(number), points)
    verdict = Verdict.INSUFFICIENT if number < 5 else Verdict.OK
    said = [
        JudgementRecord(
            *(run_id(number), SUITE, point.key.fingerprint, point.key.metric),
            *(Verdict.INVALID if point.doubted else verdict, ""),
        )
        for point in points
        if not (number >= STEP and point.key.fingerprint == SLOWER.fingerprint)
    ]
    store.ingest(said)


def _night(number: int, draw: np.random.Generator) -> Iterator[Record]:
    run, start = run_id(number), FIRST + timedelta(days=number)
    planned = len(SERVERS) * len(BATCHES) * len(ROUNDS) + 1
    yield RunStarted(run, SUITE, 7, start, DEVICE, {"git_sha": "0d9c5c2a9f3e"}, "name: nightly\n", planned)
    at = start + timedelta(minutes=2)
    for round_number in ROUNDS:
        for canary, usual in {"matrix_product": 48e6, "memory_copy": 21e6}.items():
            took = usual * (1.09 if number == DOUBTED else 1.0) * float(draw.lognormal(0, 0.004))
            figure = Estimate(took, took * 0.995, took * 1.006)
            yield CanaryRecord(run, round_number, canary, "cpu", at, figure)
        for server in SERVERS:
            deployment = _deployment(run, server, round_number, at, draw, number)
            yield deployment
            at += timedelta(seconds=20)
            for batch in BATCHES:
                yield _measured(deployment, batch, at, number, draw)
                at += timedelta(seconds=14)
    if number in {12, 13, NIGHTS - 1}:
        died = _deployment(run, "fastapi", 3, at, draw, number)
        yield DeploymentRecord(
            *(run, "fastapi-dead", 3, "fastapi", died.server_version, "ab12", "bert_base", Format.TORCHSCRIPT),
            *(Precision.FP32, {}, at, None, None, None, {}, "runs/x/logs/fastapi-dead.log", "died", "exit status 137"),
            "Killed\n",
        )
        yield MissingRecord(
            *(run, f"gone-{number}", 3, "fastapi", "bert_base", Format.TORCHSCRIPT, Precision.FP32, {}),
            *(Protocol.RAW_HTTP, 1, ClosedLoop(4), "deployment_failed", "died: exit status 137"),
        )
    yield RunFinished(run, at, "completed" if number != 17 else "failed", {"measure": 60 * _S}, "")


def _deployment(
    run: str, server: str, round_number: int, at: datetime, draw: np.random.Generator, number: int
) -> DeploymentRecord:
    version = SERVERS[server][0] if server != "onnxruntime" or number < STEP else "1.32.0"
    cold = int(draw.lognormal(1.4, 0.08) * _S)
    return DeploymentRecord(
        *(run, f"{server}-{round_number}", round_number, server, version, "ab12", MODEL, _format(server)),
        *(Precision.FP32, {}, at, cold, cold // 3, 640 * 2**20, {}, f"runs/{run}/logs/{server}-{round_number}.log"),
    )


def _format(server: str) -> Format:
    return Format.TORCHSCRIPT if server == "fastapi" else Format.ONNX


def _case(server: str, batch: int) -> Case:
    protocol = SERVERS[server][1]
    return Case(
        *(MODEL, 1, "0" * 64, _format(server), Precision.FP32, server, {}, protocol, batch, ClosedLoop(4)),
        *(1, DEVICE, 1),
    )


SLOWER, SPLIT = _case("onnxruntime", 8), _case("triton", 8)
"""The series with the step, and one whose server tells how long requests wait."""


def _measured(
    deployment: DeploymentRecord, batch: int, at: datetime, number: int, draw: np.random.Generator
) -> MeasurementRecord:
    server = deployment.server
    service_ms = SERVERS[server][2] * (0.55 + 0.45 * batch)
    if server == "onnxruntime" and number >= STEP:
        service_ms *= 1.12
    centre = service_ms * 1e6 * float(draw.lognormal(0, 0.008)) * 2
    latency = (centre * (0.92 + draw.lognormal(-2.6, 0.7, 300))).astype(np.int64)
    quantiles = {
        name: Estimate(value, value * 0.985, value * (1.05 if name == "p99" else 1.015))
        for name, value in zip(
            ("p50", "p90", "p95", "p99"), np.quantile(latency, (0.5, 0.9, 0.95, 0.99)).tolist(), strict=True
        )
    }
    rate = 4e9 / float(latency.mean())
    counts = {"ok": int(rate * 10)} | ({"timeout": 3} if server == "fastapi" and number % 5 == 0 else {})
    doubts = (Doubt(Reason.FOREIGN_LOAD, "others used 31 %"),) if number == DOUBTED else ()
    if server == "fastapi" and batch == 32:
        doubts += (Doubt(Reason.TOO_FEW_SAMPLES, "12 samples above p99", ("p99",)),)
    return MeasurementRecord(
        run_id=deployment.run_id,
        cell_id=f"{server}-b{batch}.r{deployment.round}",
        round=deployment.round,
        deployment_id=deployment.deployment_id,
        case=_case(server, batch),
        started_at=at,
        warmup_ns=2 * _S,
        measured_ns=10 * _S,
        counts=counts,
        offered_rps=None,
        throughput_rps=Estimate(rate, rate * 0.99, rate * 1.01),
        latency_ns=quantiles,
        service_ns=quantiles,
        lag_ns={"p50": 12_000.0, "p99": 90_000.0},
        histogram=LatencyHistogram.from_ns(latency).encode(),
        client_cpu_ns_per_request=85_000.0,
        telemetry=tuple(_telemetry(server, batch, draw)),
        context={},
        doubts=doubts,
    )


def _telemetry(server: str, batch: int, draw: np.random.Generator) -> Iterator[Series]:
    offsets = tuple(range(0, 10_000, 500))

    def sampled(source: str, metric: str, level: float, spread: float) -> Series:
        return Series(source, metric, offsets, tuple((level + spread * draw.standard_normal(len(offsets))).tolist()))

    yield sampled("gpu0", "utilisation_percent", min(92.0, 35 + 2 * batch), 2.0)
    yield sampled("gpu0", "power_w", 210 + 9.0 * batch, 6.0)
    yield sampled("gpu0", "memory_bytes", (3 + batch / 8) * 2**30, 2**20)
    yield sampled("gpu0", "sm_clock_mhz", 1965, 8.0)
    yield sampled("gpu0", "temperature_c", 41 + batch / 3, 0.5)
    yield sampled("server", "rss_bytes", (620 + batch) * 2**20, 2**18)
    end = (10_000,)
    yield Series("gpu0", "energy_j", end, ((210 + 9.0 * batch) * 10,))
    yield Series("gpu0", "energy_valid", end, (1.0,))
    yield Series("server", "rss_slope_bytes_per_s", end, (float(draw.normal(900, 300)),))
    if server == "triton":
        yield Series("server", "triton_queue_us_per_request", end, (float(draw.normal(260, 20)),))
        yield Series("server", "triton_compute_us_per_request", end, (1900.0 + 700 * batch,))


def _judge(store: Store) -> None:
    last = run_id(NIGHTS - 1)
    members = []
    for metric, before in {Metric.THROUGHPUT_RPS: 220.0, Metric.LATENCY_P50_NS: 18e6}.items():
        after = before * (1.12 if metric is Metric.LATENCY_P50_NS else 0.89)
        nights = NIGHTS - STEP
        found = Change(
            *(run_id(STEP), run_id(STEP - 1), nights, Estimate(before, before * 0.99, before * 1.01)),
            *(Estimate(after, after * 0.99, after * 1.01), 2e-9, True),
        )
        ratio = Estimate(after / before, after / before * 0.99, after / before * 1.01)
        key = SeriesKey(SUITE, SLOWER.fingerprint, metric)
        members.append(Member(key, "onnxruntime resnet50 b8 raw-http closed c4", found, ratio, "c1"))
        store.ingest(
            [
                ConfirmationRecord(
                    *(last, "c1", SUITE, SLOWER.fingerprint, metric, Outcome.CONFIRMED, "8 of 8 pairs"),
                    *(run_id(STEP - 1), {"package onnxruntime": "1.31.1 -> 1.32.0"}, {}, ratio, 8, 60 * _S),
                ),
                *(
                    JudgementRecord(
                        *(run_id(number), SUITE, SLOWER.fingerprint, metric),
                        *(Verdict.SUSPECTED if number < NIGHTS - 1 else Verdict.REGRESSED, "slower than history"),
                        *(found, "c1" if number == NIGHTS - 1 else None),
                    )
                    for number in range(STEP, NIGHTS)
                ),
            ]
        )
        store.put_changes({key: [ChangePoint(run_id(STEP), before, after, 2e-9)]})
    store.raise_alerts(
        SUITE,
        last,
        [
            Finding(
                *(AlertKind.REGRESSION, "onnxruntime", "onnxruntime is 11 % slower", "in two of two series"),
                *(tuple(members), {"package onnxruntime": "1.31.1 -> 1.32.0"}, 0.11),
            )
        ],
        LAST,
    )
    old = store.raise_alerts(
        SUITE,
        run_id(12),
        [Finding(AlertKind.FAILED_SERVER, "fastapi", "fastapi does not start", "died", (), {}, 1.0)],
        FIRST + timedelta(days=12),
    )
    store.change_alert(old[0].number, AlertState.RESOLVED, "the machine was short of memory", LAST)
