"""The four answers, from made-up records whose figures are known."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf, nan

import numpy as np
import pytest

from nightbench.arena import Arena, Metric, Written, arena
from nightbench.arena_words import in_words
from nightbench.configuration import configuration_lines
from nightbench.errors import UsageError
from nightbench.figures import Doubt, Estimate, Reason, Series
from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop, Load, OpenLoop
from nightbench.model import Format, Precision
from nightbench.record import Case, DeploymentRecord, MeasurementRecord, Record, RunStarted
from nightbench.server import OptionValue, Protocol
from nightbench.summary import CellSummary, NightSummary, summarise

START = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
ROUNDS = (1, 2, 3)
MODELS = {"arena"}
WRITTEN = {
    "one": (Written("serve.py", 20), Written("Dockerfile", 10)),
    "two": (Written("serve.py", 40), Written("Dockerfile", 10)),
}
# server: latency (ms) and throughput by concurrency, CPU percent, peak MiB
FIGURES = {
    "one": ({1: 100.0, 4: 400.0, 8: 900.0}, 10.0, 100.0, 300),
    "two": ({1: 150.0, 4: 400.0, 8: 600.0}, 8.0, 120.0, 700),
}


def records(
    model: str = "arena", loads: tuple[Load, ...] = (ClosedLoop(1), ClosedLoop(4), ClosedLoop(8))
) -> Iterator[Record]:
    yield RunStarted("run-1", "arena", 1, START, "a machine", {"cpu": "some"}, "name: arena\n", 18)
    for server, (latencies, rate_rps, cpu, mib) in FIGURES.items():
        for number in ROUNDS:
            yield deployment(server, model, number, 2.0 if server == "one" else 5.0)
            for load in loads:
                p50_ms = latencies.get(int(load.size), 100.0)
                yield measured(server, model, number, load, p50_ms, rate_rps, cpu, mib)


def deployment(server: str, model: str, number: int, start_s: float) -> DeploymentRecord:
    return DeploymentRecord(
        run_id="run-1",
        deployment_id=f"{server}-{number}",
        round=number,
        server=server,
        server_version="1",
        environment="host",
        model=model,
        format=Format.STAGES,
        precision=Precision.FP32,
        options={},
        started_at=START,
        cold_start_ns=int((start_s + number / 100) * 1e9),
        model_load_ns=int(3e8),
        rss_bytes=200 * 2**20,
        limits={},
        log_path="log",
    )


def measured(
    server: str,
    model: str,
    number: int,
    load: Load,
    p50_ms: float,
    rate_rps: float,
    cpu: float,
    mib: int,
    options: dict[str, OptionValue] | None = None,
    doubts: tuple[Doubt, ...] = (),
) -> MeasurementRecord:
    def around(value: float) -> Estimate:
        return Estimate(value, 0.98 * value, 1.02 * value)

    histogram = LatencyHistogram.from_ns(np.array([p50_ms * 1e6], np.int64))
    swing = 1 + number / 1000
    return MeasurementRecord(
        run_id="run-1",
        cell_id=f"{server}{options or ''}-{load.label}.r{number}",
        round=number,
        deployment_id=f"{server}-{number}",
        case=Case(
            model=model,
            model_version=1,
            artifact_sha256="0" * 64,
            format=Format.STAGES,
            precision=Precision.FP32,
            server=server,
            options=options or {},
            protocol=Protocol.RAW_HTTP,
            batch=1,
            load=load,
            threads=2,
            hardware="a machine",
            version=1,
        ),
        started_at=START,
        warmup_ns=10**9,
        measured_ns=8 * 10**9,
        counts={"ok": 100},
        offered_rps=None,
        throughput_rps=around(rate_rps * swing),
        latency_ns={"p50": around(p50_ms * 1e6 * swing), "p99": around(2e6 * p50_ms * swing)},
        service_ns={"p50": around(p50_ms * 1e6 * swing)},
        lag_ns={},
        histogram=histogram.encode(),
        client_cpu_ns_per_request=1e5,
        telemetry=(
            Series("server", "cpu_percent", (0, 200, 400), (cpu - 10, cpu, cpu + 10)),
            Series("server", "rss_bytes", (0, 200, 400), (1e6, mib * 2.0**20, 2e6)),
        ),
        context={},
        doubts=doubts,
    )


def written(cell: CellSummary) -> Sequence[Written]:
    return WRITTEN[cell.server]


def nothing(_: CellSummary) -> Sequence[Written]:
    return ()


def night(*more: Record, **chosen: object) -> NightSummary:
    return summarise([*records(**chosen), *more])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> Arena:
    return arena(night(), MODELS, 3.6, written, (Written("pipeline.py", 60),))


def test_each_architecture_has_its_levels_lightest_first(found: Arena) -> None:
    assert [each.name for each in found.architectures] == ["one", "two"]
    assert [[level.concurrency for level in each.levels] for each in found.architectures] == [[1, 4, 8]] * 2
    p50 = found.architectures[0].levels[1].figure(Metric.P50)
    assert p50 is not None
    assert p50.value == pytest.approx(400e6, rel=0.01)


def test_a_request_costs_its_share_of_the_processors_and_of_the_hour(found: Arena) -> None:
    level = found.architectures[0].levels[0]
    assert level.cpu_ns_per_request is not None
    assert level.cpu_ns_per_request.value == pytest.approx(1.0 / 10 * 1e9, rel=0.01)
    assert level.peak_rss_bytes is not None
    assert level.peak_rss_bytes.value == pytest.approx(300 * 2**20)
    cost, rate = level.cost_per_million, level.cell.throughput_rps
    assert cost is not None
    assert rate is not None
    assert rate.high is not None
    assert cost.value == pytest.approx(100.0, rel=0.01)  # 3.6 an hour is 0.001 a second, at 10 a second
    assert cost.low == pytest.approx(1e3 / rate.high)


def test_what_is_written_and_how_long_a_start_takes_is_told(found: Arena) -> None:
    one, two = found.architectures
    assert (one.lines, two.lines) == (30, 50)
    assert one.deployment is not None
    assert one.deployment.cold_start_ns is not None
    assert one.deployment.cold_start_ns.value == pytest.approx(2.02e9, rel=0.01)


def test_the_best_at_each_load_or_a_tie(found: Arena) -> None:
    leaders = {(each.metric, each.concurrency): each.leaders for each in found.standings}
    assert leaders[Metric.P50, 1] == ("one",)
    assert set(leaders[Metric.P50, 4]) == {"one", "two"}
    assert leaders[Metric.P50, 8] == ("two",)
    assert {leaders[Metric.THROUGHPUT, size] for size in (1, 4, 8)} == {("one",)}


def test_words_are_made_from_the_figures(found: Arena) -> None:
    said = in_words(found)
    assert said[0] == "Lowest p50 latency: one at 1 in flight; one and two level at 4 in flight; two at 8 in flight."
    assert "Highest throughput: one from 1 to 8 in flight." in said
    assert any(
        each.startswith("Least memory at 8 in flight, the heaviest load that all were asked for: one (one 300 MiB")
        for each in said
    )
    assert any(each.startswith("Least time to start: one (one 2.02 s") for each in said)
    assert "Least to write: one (one 30 lines, two 50 lines)." in said


def test_what_is_doubted_does_not_compete() -> None:
    load = ClosedLoop(16)
    tail = (Doubt(Reason.TOO_FEW_SAMPLES, "only 40 samples", ("p99",)),)
    more = [measured("one", "arena", number, load, 100.0, 10.0, 100.0, 300, doubts=tail) for number in ROUNDS]
    more += [measured("two", "arena", number, load, 300.0, 10.0, 100.0, 300) for number in ROUNDS]
    found = arena(night(*more), MODELS, 1.0, nothing)
    leaders = {(each.metric, each.concurrency): each.leaders for each in found.standings}
    assert leaders[Metric.P99, 16] == ()
    assert leaders[Metric.P50, 16] == ("one",)
    assert "not decided at 16 in flight" in in_words(found)[1]


def test_processor_time_is_doubted_with_the_throughput_that_it_is_made_from() -> None:
    short = (Doubt(Reason.TOO_FEW_SAMPLES, "too short for a throughput", ("throughput_rps",)),)
    more = [measured(name, "arena", 9, ClosedLoop(16), 100.0, 10.0, 100.0, 300, doubts=short) for name in FIGURES]
    level = arena(night(*more), MODELS, 1.0, nothing).architectures[0].levels[-1]
    level = replace(level, cell=replace(level.cell, doubts=short))
    assert level.doubted(Metric.THROUGHPUT)
    assert level.doubted(Metric.CPU)
    assert not level.doubted(Metric.P50)
    assert not level.doubted()


def test_who_did_not_compete_is_named() -> None:
    foreign = (Doubt(Reason.FOREIGN_LOAD, "somebody else computed"),)
    more = [
        measured(name, "arena", number, ClosedLoop(16), 100.0 * place, 10.0 / place, 100.0, 300, doubts=doubts)
        for place, (name, doubts) in enumerate((("three", foreign), ("one", ()), ("two", ())), 1)
        for number in ROUNDS
    ]
    found = arena(night(*more), MODELS, 1.0, nothing)
    assert {each.left_out for each in found.standings} == {("three",)}
    said = in_words(found)
    assert "one at 16 in flight (without three, doubted or missing)" in said[0]
    # Three has no other load than 16, where it is doubted, and no start.
    assert "Least memory at 16 in flight, the heaviest load that all were asked for: one and two level" in said[4]
    assert said[4].endswith(", without three, doubted or missing.")
    assert said[5].endswith(", without three, doubted or missing.")


def test_memory_is_compared_at_one_load() -> None:
    more = [measured("two", "arena", number, ClosedLoop(16), 100.0, 10.0, 100.0, 1) for number in ROUNDS]
    said = in_words(arena(night(*more), MODELS, 1.0, nothing))
    assert said[4].startswith("Least memory at 8 in flight, the heaviest load that all were asked for: one (")


def test_who_fails_to_start_is_not_the_soonest_to() -> None:
    failed = replace(deployment("one", "arena", 4, 0.1), cold_start_ns=None, failure="it died", failure_kind="died")
    said = in_words(arena(night(failed), MODELS, 1.0, nothing))
    assert said[5] == "Least time to start: not decided, for no two figures are undoubted."


def test_setups_of_one_server_are_told_by_what_differs() -> None:
    options: dict[str, OptionValue] = {"join_crops": True}
    more = [measured("one", "arena", number, ClosedLoop(1), 90.0, 11.0, 100.0, 300, options) for number in ROUNDS]
    found = arena(night(*more), MODELS, 1.0, written)
    assert [each.name for each in found.architectures] == ["one", "one join_crops=True", "two"]
    assert [each.lines for each in found.architectures] == [30, 30, 50]


def test_figures_that_are_not_there_are_left_out() -> None:
    silent = Series("server", "cpu_percent", (), ())
    bare = [
        record if not isinstance(record, MeasurementRecord) else _with_telemetry(record, silent) for record in records()
    ]
    found = arena(summarise(bare), MODELS, 1.0, nothing)
    assert found.architectures[0].levels[0].cpu_ns_per_request is None
    assert found.architectures[0].levels[0].peak_rss_bytes is None
    said = in_words(found)
    assert said[3] == ("Least processor time a request: not decided, for no load has two figures that are not doubted.")
    assert not any(sentence.startswith(("Least memory", "Least to write")) for sentence in said)


def _with_telemetry(record: MeasurementRecord, *series: Series) -> MeasurementRecord:
    return replace(record, telemetry=series)


def test_a_run_of_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="run-1 has no closed loop of a pipeline"):
        arena(night(model="resnet50"), MODELS, 1.0, nothing)
    with pytest.raises(UsageError, match="no closed loop"):
        arena(night(loads=(OpenLoop(5.0),)), MODELS, 1.0, nothing)
    for price in (0.0, -1.0, inf, nan):
        with pytest.raises(UsageError, match=f"price per hour {price:g} is none"):
            arena(night(), MODELS, price, nothing)


PYTHON = '''"""What it is
for."""

import sys  # ours

# a comment


def told(text: str) -> str:
    """Documentation."""
    said = """two
lines"""
    return said + text + sys.prefix
'''


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("Dockerfile", "# why\nFROM scratch\n\nRUN a \\\n    && b\n", 3),
        ("config.pbtxt", 'name: "x"\n  # inner\ninput [\n]\n', 3),
        ("requirements.in", "", 0),
        ("serve.py", PYTHON, 5),
        ("empty.py", '"""Only words."""\n', 0),
    ],
)
def test_lines_count_where_they_say_something(name: str, text: str, lines: int) -> None:
    assert configuration_lines(name, text) == lines
