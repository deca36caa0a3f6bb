"""Made-up nights for judging: cells with their rounds, and histories before them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from nightbench.figures import Doubt, Estimate, SearchFigures, StreamFigures
from nightbench.histogram import LatencyHistogram
from nightbench.judge.night import NightSeries
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import Direction, Metric, Point, Predecessor, SeriesHistory, SeriesKey
from nightbench.judge.verdict import Change
from nightbench.load import ClosedLoop, Load
from nightbench.model import Format, Precision
from nightbench.plan import Cell, Export, Setup
from nightbench.record import ArtifactRecord, Case, MeasurementRecord, Record, RunStarted
from nightbench.server import Protocol
from nightbench.summary import NightSummary, summarise

NOW = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
SUITE = "nightly"
MS = 1e6
_HISTOGRAM = LatencyHistogram.from_ns(np.array([1_000_000])).encode()


def started(run_id: str = "tonight", context: Mapping[str, str] | None = None) -> RunStarted:
    return RunStarted(run_id, SUITE, 1, NOW, "2 processors", context or {}, "name: nightly\n", 8)


def case(server: str = "triton", model: str = "resnet", load: Load | None = None, **changes: object) -> Case:
    given: dict[str, object] = {
        "model": model,
        "model_version": 1,
        "artifact_sha256": model.ljust(64, "0"),
        "format": Format.ONNX,
        "precision": Precision.FP32,
        "server": server,
        "options": {"threads": 1},
        "protocol": Protocol.RAW_HTTP,
        "batch": 1,
        "load": load or ClosedLoop(4),
        "threads": 1,
        "hardware": "2 processors",
        "version": 1,
    }
    return Case(**(given | changes))  # type: ignore[arg-type]  # the test names the fields


def around(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, value * (1 - half), value * (1 + half))


def cell_rounds(
    of: Case,
    *,
    rps: float = 100.0,
    p50_ms: float = 4.0,
    p99_ms: float = 9.0,
    doubts: Sequence[Doubt] = (),
    rounds: int = 3,
    stream: StreamFigures | None = None,
    search: SearchFigures | None = None,
    quantiles: Mapping[str, Estimate] | None = None,
) -> list[MeasurementRecord]:
    """One cell, measured ``rounds`` times."""
    latency = quantiles or {"p50": around(p50_ms * MS), "p99": around(p99_ms * MS)}
    return [
        MeasurementRecord(
            run_id="tonight",
            cell_id=f"{of.fingerprint[:12]}.r{number}",
            round=number,
            deployment_id=f"{of.server}-{of.model}-{number}",
            case=of,
            started_at=NOW,
            warmup_ns=1,
            measured_ns=2,
            counts={"ok": 10},
            offered_rps=None,
            throughput_rps=around(rps),
            latency_ns=latency,
            service_ns=latency,
            lag_ns={},
            histogram=_HISTOGRAM,
            client_cpu_ns_per_request=None,
            telemetry=(),
            context={},
            doubts=tuple(doubts),
            search=search,
            stream=stream,
        )
        for number in range(1, rounds + 1)
    ]


def artifact(of: Case) -> ArtifactRecord:
    return ArtifactRecord(
        run_id="tonight",
        model=of.model,
        model_version=of.model_version,
        format=of.format,
        precision=of.precision,
        weights="random",
        sha256=of.artifact_sha256,
        size_bytes=1,
        export_ns=1,
        cached=True,
        exporter={},
        reproducible=True,
    )


def night_of(*records: Record, run_id: str = "tonight", context: Mapping[str, str] | None = None) -> NightSummary:
    cases = {record.case.artifact_sha256: record.case for record in records if isinstance(record, MeasurementRecord)}
    return summarise([started(run_id, context), *map(artifact, cases.values()), *records])


NIGHTS = [f"night-{number:02}" for number in range(40)]


def levels(*steps: tuple[int, float], noise: float = 0.01, seed: int = 0) -> list[float]:
    """One value a night: so many nights at each level, with noise of so much of it."""
    rng = np.random.default_rng(seed)
    usual = np.concatenate([np.full(nights, level) for nights, level in steps])
    return [float(value) for value in usual * np.exp(noise * rng.standard_normal(len(usual)))]


def points(values: Sequence[float], doubted: Sequence[int] = ()) -> tuple[Point, ...]:
    """The newest nights of `NIGHTS`; ``doubted`` by index."""
    names = NIGHTS[len(NIGHTS) - len(values) :]
    return tuple(
        Point(name, value, 0.99 * value, 1.01 * value, at in doubted)
        for at, (name, value) in enumerate(zip(names, values, strict=True))
    )


def series(
    values: Sequence[float],
    server: str = "triton",
    model: str = "resnet",
    metric: Metric = Metric.LATENCY_P50_NS,
    *,
    load: Load | None = None,
    doubts: Sequence[str] = (),
    anchor: Estimate | None = None,
    since: str | None = None,
    predecessor: Predecessor | None = None,
) -> NightSeries:
    """A series with these values, tonight's last."""
    of = case(server, model, load)
    setup = Setup(server, Export(model, of.format, of.precision, "random"), (("threads", 1),))
    cell = Cell(f"{of.fingerprint[:12]}.r1", setup, of.protocol, of.batch, of.load)
    known = points(values, [len(values) - 1] if doubts else [])
    return NightSeries(
        SeriesKey(SUITE, of.fingerprint, metric),
        f"{cell.label}, {metric}",
        cell,
        Estimate(known[-1].value, known[-1].low, known[-1].high),
        tuple(doubts),
        SeriesHistory(known, anchor, since),
        predecessor,
    )


def slower(nights: int = 5, by: float = 1.15, seed: int = 0, level: float = 100.0) -> list[float]:
    """Forty nights of which the last ``nights`` are slower, as latencies are."""
    return levels((40 - nights, level), (nights, by * level), seed=seed)


def steady(seed: int = 0, level: float = 100.0) -> list[float]:
    return levels((40, level), seed=seed)


def plain_suspect(
    known: Sequence[Point],
    direction: Direction,
    effect: float,
    policy: JudgePolicy,
    anchor: Estimate | None = None,
    watch_p: float | None = None,
) -> Change | None:
    """A rule simple enough to reckon with: the newest nights that all lie beyond the effect, firm from two on.

    What is tested with it is what becomes of a change, not when one is found.
    """
    if known[-1].doubted:
        return None
    valid = [point for point in known if not point.doubted]
    if len(valid) <= policy.min_nights:
        return None
    level = float(np.median([point.value for point in valid[: policy.min_nights]]))
    nights = 0
    for point in reversed(valid):
        if abs(np.log(point.value / level)) <= np.log1p(effect) or (point.value > level) != (valid[-1].value > level):
            break
        nights += 1
    if not 0 < nights <= policy.window_nights:
        return None
    after = float(np.median([point.value for point in valid[-nights:]]))
    return Change(
        valid[-nights].night, valid[-nights - 1].night, nights, around(level), around(after),
        1e-6 if nights > 1 else 0.5 * policy.confirm.watch_p, firm=nights > 1,
    )  # fmt: skip


@pytest.fixture
def plain_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightbench.judge.night.suspect", plain_suspect)
    monkeypatch.setattr("nightbench.judge.environment.suspect", plain_suspect)
