"""One night of many series, as records: every kind of record that a night leaves, shaped like the real ones.

Shapes are those of the nights stored on the machine this is developed on: a timed cell has nine to seventeen telemetry
series of about fifteen samples, a histogram of 300 to 600 characters and a context of 350, one doubt in three cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import islice, product

import numpy as np

from nightbench.figures import Doubt, Estimate, Reason, Series
from nightbench.histogram import LatencyHistogram
from nightbench.judge.series import Metric, NightPoint, SeriesKey
from nightbench.load import Arrival, ClosedLoop, Load, OpenLoop
from nightbench.model import Format, Precision
from nightbench.record import (
    ArtifactRecord,
    CalibrationRecord,
    CanaryRecord,
    Case,
    DeploymentRecord,
    MeasurementRecord,
    MissingRecord,
    ParityRecord,
    Record,
    RunFinished,
    RunStarted,
    WireParityRecord,
)
from nightbench.server import Protocol

__all__ = ["HARDWARE", "SUITE", "World", "points_of_night", "run_id_of"]

SUITE = "nightly"
HARDWARE = "2 of 16 cpus, NVIDIA H200"
_SERVERS = (
    *("fastapi", "flask", "onnxruntime", "triton", "torchserve", "bentoml", "ray", "litserve", "ovms", "vllm"),
    *("tensorflow_serving", "mlserver"),
)
_MODELS = ("resnet18", "resnet50", "bert_base", "mobilenet_v3", "clip_vit_b32", "yolov8n")
_LOADS: tuple[Load, ...] = (ClosedLoop(1), ClosedLoop(8), OpenLoop(50.0), OpenLoop(200.0, Arrival.POISSON))
_PROTOCOLS = (Protocol.RAW_HTTP, Protocol.KSERVE_GRPC)
_BATCHES = (1, 4, 8, 16, 32)
_PRECISIONS = (Precision.FP32, Precision.INT8)
_GPU = ("utilisation_percent", "power_w", "sm_clock_mhz", "temperature_c", "memory_bytes")
_SAMPLES = 15


def run_id_of(night: datetime, suite: str = SUITE) -> str:
    return f"{night:%Y%m%d-%H%M%S}-{suite}-{sha256(night.isoformat().encode()).hexdigest()[:4]}"


@dataclass(frozen=True, slots=True)
class World:
    """The series that every night measures."""

    cases: tuple[Case, ...]

    @classmethod
    def of(cls, series: int) -> "World":
        """At most 5,760 of them; spread evenly over servers, models and the rest."""
        every = [*product(_SERVERS, _MODELS, _PRECISIONS, _PROTOCOLS, _BATCHES, _LOADS)]
        chosen = np.random.default_rng(7).permutation(len(every))[:series]
        return cls(tuple(_case(*every[number]) for number in sorted(chosen)))

    def records(self, night: datetime, seed: int = 7) -> Iterator[Record]:
        """A whole night that began then, in the order of a spool."""
        rng = np.random.default_rng(seed)
        run = run_id_of(night)
        planned = len(self.cases) + len(self.cases) // 100
        yield RunStarted(run, SUITE, 7, night, HARDWARE, _context(), "name: nightly\n" * 40, planned)
        yield from self._made(run)
        yield from self._deployed(run, night)
        for number in range(4):
            ceiling = Estimate(5e4, 4.9e4, 5.1e4)
            floor = {name: Estimate(9e4, 8.9e4, 9.1e4) for name in ("p50", "p90", "p95", "p99")}
            began = night + timedelta(minutes=number)
            yield CalibrationRecord(
                *(run, number, Protocol.RAW_HTTP, "resnet18", 1, 602_112, 4_000, began, ceiling, floor, 9_000.0)
            )
            yield CanaryRecord(run, number, "matrix_product", "cpu", began, Estimate(5e6, 4.9e6, 5.1e6))
            yield CanaryRecord(run, number, "gpu_matrix_product", "gpu0", began, Estimate(2e6, 1.9e6, 2.1e6))
        for number, case in enumerate(self.cases):
            yield _measurement(run, night, number, case, rng)
        for number in range(len(self.cases) // 100):
            yield MissingRecord(
                *(run, f"m{number}.r1", 0, "ovms", "clip_vit_b32", Format.ONNX, Precision.INT8, {}),
                *(Protocol.KSERVE_GRPC, 1, ClosedLoop(8), "deployment_failed", "died: exit 139"),
            )
        yield RunFinished(run, night + timedelta(hours=5), "completed", {"deploy": 10**12, "measure": 10**13})

    def _made(self, run: str) -> Iterator[Record]:
        for model, precision in product(_MODELS, _PRECISIONS):
            sha = _sha(model, precision)
            yield ArtifactRecord(
                *(run, model, 1, Format.ONNX, precision, "random(7)", sha, 10**8, 3 * 10**9, True, {"onnx": "1.19"}),
                reproducible=True,
            )
            for batch in (1, 8):
                yield ParityRecord(
                    *(run, model, Format.ONNX, precision, sha, "logits", batch, 1e-5, 1e-4, 1.0, 1.0, True),
                    *("", 1e-6, 1e-6, 1.0),
                )

    def _deployed(self, run: str, night: datetime) -> Iterator[Record]:
        for server, model in product(_SERVERS, _MODELS):
            started = night + timedelta(minutes=5)
            failed = ("died", "exit 139") if (server, model) == ("ovms", "clip_vit_b32") else (None, None)
            yield DeploymentRecord(
                *(run, _deployment(server, model), 0, server, "1.31.0", "ab12cd34", model, Format.ONNX, Precision.FP32),
                *({"batching": True}, started, 3 * 10**9, 10**9, 5 * 10**8, {"cpus": "affinity"}, "logs/d.log"),
                *failed,
            )
            where = (run, _deployment(server, model), model, Format.ONNX, Precision.FP32, _sha(model, Precision.FP32))
            figures = (1e-5, 1e-4, 1e-6, 1e-6, 1.0, 1.0, 1.0)
            yield WireParityRecord(
                *where, server, Protocol.RAW_HTTP, 1, "logits", *figures, items=8, answered=True, passed=True
            )


def points_of_night(records: Sequence[Record]) -> list[NightPoint]:
    """What the night adds to its series."""
    points = []
    for record in records:
        if isinstance(record, MeasurementRecord):
            name = record.case.fingerprint
            figures = {Metric.LATENCY_P50_NS: record.latency_ns["p50"], Metric.LATENCY_P99_NS: record.latency_ns["p99"]}
            if isinstance(record.case.load, ClosedLoop):
                figures[Metric.THROUGHPUT_RPS] = record.throughput_rps
            doubts = tuple(doubt.reason.value for doubt in record.doubts)
            points += [NightPoint(SeriesKey(SUITE, name, metric), each, doubts) for metric, each in figures.items()]
    return points


def _case(server: str, model: str, precision: Precision, protocol: Protocol, batch: int, load: Load) -> Case:
    return Case(
        *(model, 1, _sha(model, precision), Format.ONNX, precision, server, {"batching": True, "threads": 2}, protocol),
        *(batch, load, 2, HARDWARE, 1),
    )


def _measurement(run: str, night: datetime, number: int, case: Case, rng: np.random.Generator) -> MeasurementRecord:
    level = 1e6 * float(rng.lognormal(1.0, 1.0)) * case.batch**0.7
    around = {"p50": 1.0, "p90": 1.3, "p95": 1.5, "p99": 2.4}
    latency = {name: _estimate(level * share) for name, share in around.items()}
    rate = _estimate(1e9 / level * (case.load.concurrency if isinstance(case.load, ClosedLoop) else 1))
    doubt = Doubt(Reason.FOREIGN_LOAD, "other processes took 31 % of the machine for 2.4 s")
    return MeasurementRecord(
        *(run, f"c{number:04}.r1", 0, _deployment(case.server, case.model), case),
        *(night + timedelta(seconds=8 * number), 2 * 10**9, 10**10, {"ok": 9_000, "timeout": int(number % 50 == 0)}),
        *(None if isinstance(case.load, ClosedLoop) else 50.0, rate, latency, latency),
        *({"p50": 900.0, "p99": 12_345.0, "max": 40_000.0}, _histogram(number % 16), 7_200.5, _telemetry()),
        *(_context(), (doubt,) if number % 20 == 0 else ()),
        hiccups_ns={"p99": 1_000, "p999": 20_000, "max": 90_000},
        ceiling_share=0.2,
    )


def _estimate(value: float) -> Estimate:
    return Estimate(value, 0.98 * value, 1.03 * value)


@cache
def _histogram(number: int) -> str:
    rng = np.random.default_rng(number)
    return LatencyHistogram.from_ns(rng.lognormal(14.0 + 0.1 * number, 0.15, 2_000).astype(np.int64)).encode()


@cache
def _telemetry() -> tuple[Series, ...]:
    rng = np.random.default_rng(1)
    offsets = tuple(range(0, 200 * _SAMPLES, 200))
    names = [("client", "cpu_percent"), ("machine", "foreign_cpu_percent"), ("server", "cpu_percent")]
    names += [("server", "rss_bytes"), ("server", "threads"), *(("gpu0", name) for name in _GPU)]
    return tuple(Series(source, name, offsets, tuple(rng.normal(50, 5, _SAMPLES).tolist())) for source, name in names)


@cache
def _context() -> dict[str, str]:
    names = ("kernel", "cpu", "governor", "driver", "cuda", "git", "lock", "python", "nightbench", "memory")
    return dict(islice(((name, sha256(name.encode()).hexdigest()[:24]) for name in names), 10))


def _deployment(server: str, model: str) -> str:
    return f"{server}-{model}.r1"


def _sha(model: str, precision: Precision) -> str:
    return sha256(f"{model} {precision}".encode()).hexdigest()
