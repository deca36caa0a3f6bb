"""A night's records, gathered."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pytest

from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, StreamFigures
from nightbench.histogram import LatencyHistogram
from nightbench.load import Arrival, ClosedLoop, EndedBy, Goal, Load, OpenLoop, PeakShare, Search
from nightbench.model import Format, Precision
from nightbench.record import (
    CalibrationRecord,
    Case,
    DeploymentRecord,
    MeasurementRecord,
    MissingRecord,
    Record,
    RunFinished,
    RunStarted,
)
from nightbench.server import Protocol
from nightbench.stats.combine import combine
from nightbench.summary import CellSummary, summarise

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


def missing(key: str, number: int, of: Case | None = None) -> MissingRecord:
    of = of or case()
    return MissingRecord(
        run_id="run",
        cell_id=f"{key}.r{number}",
        round=number,
        server=of.server,
        model=of.model,
        format=of.format,
        precision=of.precision,
        options=of.options,
        protocol=of.protocol,
        batch=of.batch,
        load=of.load,
        reason="deployment_failed",
        detail="it never answered",
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


def test_a_run_killed_before_its_first_cell_is_an_empty_night() -> None:
    night = summarise([STARTED])
    assert night.run is STARTED
    assert night.finished is None
    assert (night.cells, night.deployments, night.missing_cells, night.doubted_cells) == ((), (), 0, 0)


def test_rounds_of_a_cell_are_gathered_whatever_their_order() -> None:
    rounds = [
        measured("a", 2, rate=Estimate(121.0), latencies_ns=(3, 4)),
        measured("a", 1, rate=Estimate(100.0), latencies_ns=(1, 2)),
    ]
    cell = only([*rounds, deployed("triton", 1, 2.0), deployed("triton", 2, 2.0)])
    assert (cell.cell_key, cell.rounds, cell.planned_rounds, cell.server_version) == ("a", 2, 2, "2.51")
    assert [record.round for record in cell.measurements] == [1, 2]
    assert (cell.ok, cell.failed, cell.outcomes) == (20, 2, {"ok": 20, "timeout": 2})
    assert cell.throughput_rps is not None
    assert cell.throughput_rps.value == pytest.approx(110.0)
    assert LatencyHistogram.decode(cell.histogram).count == 4


def test_one_round_keeps_its_own_interval() -> None:
    cell = only([measured("a", 1)])
    assert cell.throughput_rps == RATE
    assert cell.latency_ns == cell.service_ns == NS


def test_a_cell_that_a_resumed_run_measured_is_not_missing() -> None:
    cell = only([missing("a", 1), missing("a", 2), measured("a", 1)])
    assert [record.round for record in cell.missing] == [2]
    assert (cell.rounds, cell.planned_rounds) == (1, 2)


def test_a_cell_never_measured_is_a_row_without_figures() -> None:
    night = summarise([STARTED, missing("a", 1), measured("b", 1)])
    gap = next(cell for cell in night.cells if cell.cell_key == "a")
    assert (gap.rounds, gap.throughput_rps, gap.latency_ns, gap.histogram) == (0, None, {}, "")
    assert night.missing_cells == 1


FEW_ROUNDS = Doubt(Reason.FEW_ROUNDS, "one deployment cannot show how much deployments differ")


def test_a_doubt_about_a_tail_leaves_the_cell_standing() -> None:
    tail = Doubt(Reason.TOO_FEW_SAMPLES, "p99 needs about 500", ("p99",))
    wider = Doubt(Reason.TOO_FEW_SAMPLES, "p95 and p99 need more", ("p95", "p99"))
    night = summarise([STARTED, measured("a", 1, doubts=[tail]), measured("a", 2, doubts=[wider])])
    (cell,) = night.cells
    assert not cell.doubted
    assert cell.doubts == (Doubt(Reason.TOO_FEW_SAMPLES, "2 of 2 rounds: p99 needs about 500", ("p95", "p99")),)
    assert (
        summarise([STARTED, measured("a", 1, doubts=[tail]), measured("a", 2, doubts=[replace(tail, figures=())])])
        .cells[0]
        .doubted
    )


def test_a_doubt_is_told_once_with_the_number_of_rounds() -> None:
    late, errors = Doubt(Reason.LATE_SENDS, "2 ms late"), Doubt(Reason.ERRORS, "3 of 90 failed")
    night = summarise(
        [
            STARTED,
            measured("a", 1, doubts=[late]),
            measured("a", 2, doubts=[replace(late, detail="5 ms late"), errors]),
            measured("a", 3),
            measured("b", 1, doubts=[late]),
            measured("c", 1),
            measured("c", 2),
        ]
    )
    doubts = {cell.cell_key: cell.doubts for cell in night.cells}
    assert doubts["a"] == (
        Doubt(Reason.LATE_SENDS, "2 of 3 rounds: 2 ms late"),
        Doubt(Reason.ERRORS, "1 of 3 rounds: 3 of 90 failed"),
    )
    assert doubts["b"] == (late, FEW_ROUNDS)
    assert night.doubted_cells == 2


def test_a_quantile_that_one_round_could_not_carry_is_left_out() -> None:
    cell = only([measured("a", 1), measured("a", 2, latency={"p50": NS["p50"]})])
    assert list(cell.latency_ns) == list(cell.service_ns) == ["p50"]


def test_cells_are_ordered_for_reading() -> None:
    shapes = [
        case("triton", ClosedLoop(1), "bert"),
        case("flask", ClosedLoop(1)),
        case("triton", ClosedLoop(1)),
        case("flask", ClosedLoop(4)),
        case("flask", ClosedLoop(16)),
        case("flask", OpenLoop(5.0)),
        case("flask", OpenLoop(20.0, Arrival.CONSTANT)),
        case("triton", OpenLoop(20.0, Arrival.CONSTANT)),
        case("flask", OpenLoop(20.0)),
        case("flask", PeakShare(0.5)),
        case("flask", Search(Goal.KNEE)),
        case("triton", Search(Goal.KNEE)),
        case("flask", Search(Goal.PEAK)),
        case("flask", ClosedLoop(1), batch=8),
    ]
    records = [measured(f"k{at}", 1, shape) for at, shape in enumerate(shapes)]
    night = summarise([STARTED, *reversed(records)])
    assert [cell.cell_key for cell in night.cells] == [f"k{at}" for at in range(len(shapes))]


def _night(servers: int, load: Load = ALONE) -> list[MeasurementRecord]:
    """Two rounds of each server, 3 % apart or so."""
    draw = np.random.default_rng(1)
    return [
        measured(
            f"s{at}",
            number,
            case(f"s{at}", load),
            Estimate(float(100 * factor), float(99.9 * factor), float(100.1 * factor)),
            {"p50": Estimate(float(4e6 / factor), float(3.99e6 / factor), float(4.01e6 / factor))},
        )
        for at in range(servers)
        for number, factor in enumerate(np.exp(0.03 * draw.standard_normal(2)), 1)
    ]


def test_many_servers_together_know_their_two_rounds_better() -> None:
    records = _night(12)
    alone = {key: combine([r.throughput_rps for r in records if r.case.server == key]) for key in ("s0", "s1", "s2")}
    cells = {cell.cell_key: cell for cell in summarise([STARTED, *records]).cells}
    assert np.median([width(cell.throughput_rps) for cell in cells.values()]) < 0.2
    assert np.median([width(cell.latency_ns["p50"]) for cell in cells.values()]) < 0.2
    for key, plain in alone.items():
        found = cells[key].throughput_rps
        assert found is not None
        assert found.value == plain.value
    assert sum(width(cells[key].throughput_rps) for key in alone) < sum(width(plain) for plain in alone.values())


def test_loads_of_one_server_are_no_independent_witnesses() -> None:
    """Eight cells of one server share its two starts: nobody can tell how much starts differ."""
    records = [replace(record, case=case("triton", ClosedLoop(1 + at // 2))) for at, record in enumerate(_night(8))]
    for cell in summarise([STARTED, *records]).cells:
        assert cell.throughput_rps == combine([record.throughput_rps for record in cell.measurements])


def test_open_and_closed_loops_do_not_lend_each_other_their_spread() -> None:
    closed = _night(3)
    opened = [replace(record, cell_id=f"o{record.cell_id}") for record in _night(3, OpenLoop(20.0))]
    for cell in summarise([STARTED, *closed, *opened]).cells:
        assert cell.throughput_rps == combine([record.throughput_rps for record in cell.measurements])


def test_a_quantile_without_bounds_borrows_no_certainty() -> None:
    records = _night(12)
    stalled = [
        replace(record, latency_ns={"p50": Estimate(record.latency_ns["p50"].value)})
        if record.case.server == "s0"
        else record
        for record in records
    ]
    cell = next(cell for cell in summarise([STARTED, *stalled]).cells if cell.server == "s0")
    assert cell.latency_ns["p50"] == combine([record.latency_ns["p50"] for record in cell.measurements])
    assert width(cell.service_ns["p50"]) != width(cell.latency_ns["p50"])


def test_deployments_are_told_by_setup_with_their_failures() -> None:
    broken = deployed("flask", 2, None, failure="port taken")
    night = summarise(
        [STARTED, deployed("triton", 1, 4.0), deployed("flask", 1, 1.0), deployed("triton", 2, 9.0), broken]
    )
    flask, triton = night.deployments
    assert (flask.server, flask.starts, flask.failed, flask.failures) == ("flask", 2, 1, (broken,))
    assert flask.cold_start_ns == Estimate(1e9)
    assert (triton.starts, triton.failed, triton.model_load_ns) == (2, 0, None)
    assert triton.cold_start_ns is not None
    assert triton.cold_start_ns.value == pytest.approx(6e9)


def test_starts_of_many_setups_are_known_better_together() -> None:
    draw = np.random.default_rng(2)
    starts = [
        deployed(f"s{at}", number, float(2.0 * np.exp(0.05 * draw.standard_normal())))
        for at in range(12)
        for number in (1, 2)
    ]
    alone = [
        combine([Estimate(float(each.cold_start_ns or 0)) for each in starts[at : at + 2]]) for at in range(0, 24, 2)
    ]
    found = [each.cold_start_ns for each in summarise([STARTED, *starts]).deployments]
    assert np.median([width(each) for each in found]) < 0.6 * np.median([width(each) for each in alone])


def test_the_last_word_on_a_run_is_the_one_that_counts() -> None:
    ends = [RunFinished("run", NOW, status, {}) for status in ("cancelled", "completed")]
    assert summarise([STARTED, *ends]).finished == ends[1]


def test_a_searches_answers_are_gathered_over_its_rounds() -> None:
    load = case(load=Search(Goal.PEAK))
    answers = [Estimate(200.0, 190.0, 210.0), Estimate(242.0, 230.0, 250.0)]
    rounds = [
        replace(measured("a", number, load), search=SearchFigures((), 0, answer, ""))
        for number, answer in enumerate(answers, 1)
    ]
    cell = only(rounds)
    assert cell.answer_rps == combine(answers)
    assert cell.answer_rps is not None
    assert cell.answer_rps.value == pytest.approx(220.0)
    assert only([measured("a", 1)]).answer_rps is None


def test_what_was_offered_is_told_where_something_was() -> None:
    load = case(load=PeakShare(0.7))
    rounds = [replace(measured("a", number, load), offered_rps=70.0 * number) for number in (1, 2)]
    offered = only(rounds).offered_rps
    assert offered is not None
    assert offered.value == pytest.approx(70.0 * 2**0.5)
    assert only([measured("a", 1)]).offered_rps is None


def stream(goodput: Estimate | None, itl: Mapping[str, Estimate] = NS) -> StreamFigures:
    return StreamFigures(NS, itl, 500, RATE, goodput, {} if goodput is None else {"ttft_ms": 200.0})


def test_streams_are_gathered_like_all_other_figures() -> None:
    rounds = [replace(measured("a", number), stream=stream(RATE)) for number in (1, 2)]
    found = only(rounds).stream
    assert found is not None
    assert found.ttft_ns["p50"].value == pytest.approx(4e6)
    assert found.tokens_per_s.value == pytest.approx(100.0)
    assert found.goodput_rps is not None
    assert found.slo == {"ttft_ms": 200.0}
    assert only([measured("a", 1)]).stream is None


def test_a_stream_figure_that_one_round_lacks_is_left_out() -> None:
    rounds = [
        replace(measured("a", 1), stream=stream(RATE)),
        replace(measured("a", 2), stream=stream(None, {"p50": NS["p50"]})),
    ]
    found = only(rounds).stream
    assert found is not None
    assert found.goodput_rps is None
    assert list(found.itl_ns) == ["p50"]
    assert only([*rounds, measured("a", 3)]).stream is None


def test_rounds_are_counted_by_what_ended_them() -> None:
    ends = [EndedBy.PRECISION, EndedBy.DURATION, EndedBy.PRECISION]
    cell = only([replace(measured("a", number), ended_by=end) for number, end in enumerate(ends, 1)])
    assert cell.ended_by == {EndedBy.PRECISION: 2, EndedBy.DURATION: 1}


def calibrated(
    number: int,
    ceiling: float,
    *,
    model: str = "resnet",
    by: Literal["client", "server"] = "client",
    failure: str | None = None,
) -> CalibrationRecord:
    return CalibrationRecord(
        *("run", number, Protocol.RAW_HTTP, model, 1, 100, 20, NOW, Estimate(ceiling), NS, 7_000.0, by, failure)
    )


def test_calibrations_are_gathered_by_kind_of_request_and_failed_ones_have_no_figures() -> None:
    records = [
        calibrated(1, 8_000.0),
        calibrated(2, 0.0, failure="refused"),
        calibrated(3, 12_500.0, by="server"),
        calibrated(1, 1.0, model="bert", failure="refused"),
    ]
    bert, resnet = summarise([STARTED, *records, records[0]]).calibrations
    assert (resnet.model, resnet.times, resnet.failures) == ("resnet", 3, (records[1],))
    assert resnet.ceiling_rps is not None
    assert resnet.ceiling_rps.value == pytest.approx(10_000.0)
    assert resnet.floor_ns["p50"].value == pytest.approx(4e6)
    assert resnet.client_cpu_ns_per_request is not None
    assert (resnet.at_least, bert.at_least) == (True, False)
    assert (bert.ceiling_rps, bert.floor_ns, bert.client_cpu_ns_per_request) == (None, {}, None)
