"""A night's records, gathered: rounds and doubts of its cells, its deployments and calibrations."""

from dataclasses import replace
from typing import Literal

import pytest

from nightbench.figures import Doubt, Estimate, Reason
from nightbench.histogram import LatencyHistogram
from nightbench.load import Arrival, ClosedLoop, EndedBy, Goal, OpenLoop, PeakShare, Search
from nightbench.record import CalibrationRecord, Case, MissingRecord, RunFinished
from nightbench.server import Protocol
from nightbench.summary import summarise
from tests.nightbench.summarised import NOW, NS, RATE, STARTED, case, deployed, measured, only

FEW_ROUNDS = Doubt(Reason.FEW_ROUNDS, "one deployment cannot show how much deployments differ")


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


def test_a_run_killed_before_its_first_cell_is_an_empty_night() -> None:
    night = summarise([STARTED])
    assert night.run is STARTED
    assert night.finished is None
    assert (night.cells, night.deployments, night.missing_cells, night.doubted_cells) == ((), (), 0, 0)


def test_the_last_word_on_a_run_is_the_one_that_counts() -> None:
    ends = [RunFinished("run", NOW, status, {}) for status in ("cancelled", "completed")]
    assert summarise([STARTED, *ends]).finished == ends[1]


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


def test_rounds_are_counted_by_what_ended_them() -> None:
    ends = [EndedBy.PRECISION, EndedBy.DURATION, EndedBy.PRECISION]
    cell = only([replace(measured("a", number), ended_by=end) for number, end in enumerate(ends, 1)])
    assert cell.ended_by == {EndedBy.PRECISION: 2, EndedBy.DURATION: 1}


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
