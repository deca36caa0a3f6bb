"""What a night adds to its series, and when it is doubted."""

import pytest

from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, StreamFigures
from nightbench.judge.points import case_of, plan_cell, points_of, series_label
from nightbench.judge.series import Metric, NightPoint, SeriesKey
from nightbench.load import ClosedLoop, Goal, OpenLoop, PeakShare, Search
from nightbench.plan import Export, Setup, cell_key, expand
from nightbench.record import GateRecord, MissingRecord
from nightbench.summary import summarise
from tests.nightbench.judged import MS, SUITE, around, case, cell_rounds, night_of, started

CLOSED = {Metric.THROUGHPUT_RPS, Metric.LATENCY_P50_NS, Metric.LATENCY_P99_NS}


def by_metric(points: list[NightPoint]) -> dict[Metric, NightPoint]:
    assert len({point.key for point in points}) == len(points)
    return {point.key.metric: point for point in points}


def test_a_closed_loop_adds_its_throughput_and_latencies() -> None:
    of = case()
    found = by_metric(points_of(night_of(*cell_rounds(of, rps=120.0, p50_ms=4.0)), SUITE))
    assert set(found) == CLOSED
    assert found[Metric.THROUGHPUT_RPS].figure.value == pytest.approx(120.0)
    assert found[Metric.LATENCY_P50_NS].figure.value == pytest.approx(4 * MS)
    assert found[Metric.LATENCY_P50_NS].key == SeriesKey(SUITE, of.fingerprint, Metric.LATENCY_P50_NS)
    assert not any(point.doubted for point in found.values())


@pytest.mark.parametrize("load", [OpenLoop(50.0), PeakShare(0.5)])
def test_the_throughput_of_an_open_loop_is_what_it_was_sent_and_no_series(load: OpenLoop | PeakShare) -> None:
    stream = StreamFigures({"p50": around(1e6)}, {"p50": around(1e5)}, 10, around(500.0))
    found = by_metric(points_of(night_of(*cell_rounds(case(load=load), stream=stream)), SUITE))
    assert set(found) == {Metric.LATENCY_P50_NS, Metric.LATENCY_P99_NS, Metric.TTFT_P50_NS, Metric.ITL_P50_NS}


def test_a_stream_adds_what_its_users_feel() -> None:
    stream = StreamFigures({"p50": around(1e6)}, {"p50": around(1e5)}, 10, around(500.0))
    found = by_metric(points_of(night_of(*cell_rounds(case(), stream=stream)), SUITE))
    assert set(found) == CLOSED | {Metric.TTFT_P50_NS, Metric.ITL_P50_NS, Metric.TOKENS_PER_S}
    assert found[Metric.TOKENS_PER_S].figure.value == pytest.approx(500.0)


def test_a_search_adds_its_answer_and_not_the_step_it_ended_at() -> None:
    search = SearchFigures((), 0, around(300.0), "found")
    found = by_metric(points_of(night_of(*cell_rounds(case(load=Search(Goal.PEAK)), search=search)), SUITE))
    assert set(found) == {Metric.ANSWER_RPS}
    assert not found[Metric.ANSWER_RPS].doubted


def test_a_doubt_about_the_cell_concerns_every_figure() -> None:
    doubt = Doubt(Reason.FOREIGN_LOAD, "others used the processor")
    found = points_of(night_of(*cell_rounds(case(), doubts=[doubt])), SUITE)
    assert {point.doubts for point in found} == {("foreign_load",)}


def test_a_doubt_about_one_figure_leaves_the_others_standing() -> None:
    doubt = Doubt(Reason.BIMODAL, "two modes", ("p99",))
    found = by_metric(points_of(night_of(*cell_rounds(case(), doubts=[doubt])), SUITE))
    assert {metric for metric, point in found.items() if point.doubted} == {Metric.LATENCY_P99_NS}


def test_a_doubt_about_tokens_does_not_reach_latency() -> None:
    stream = StreamFigures({"p50": around(1e6)}, {"p50": around(1e5)}, 10, around(500.0))
    doubt = Doubt(Reason.SERVER_COUNTS_DIFFER, "others", ("itl_p50", "tokens_per_s"))
    found = by_metric(points_of(night_of(*cell_rounds(case(), stream=stream, doubts=[doubt])), SUITE))
    assert {metric for metric, point in found.items() if point.doubted} == {Metric.ITL_P50_NS, Metric.TOKENS_PER_S}


def test_a_tail_without_an_upper_bound_is_doubted() -> None:
    quantiles = {"p50": around(4e6), "p99": Estimate(9e6, 8e6)}
    found = by_metric(points_of(night_of(*cell_rounds(case(), quantiles=quantiles)), SUITE))
    assert found[Metric.LATENCY_P99_NS].doubts == ("too_few_samples",)
    assert not found[Metric.LATENCY_P50_NS].doubted


def test_a_cell_that_lost_a_round_is_doubted() -> None:
    of = case()
    *kept, lost = cell_rounds(of)
    gap = MissingRecord(
        "tonight", lost.cell_id, lost.round, of.server, of.model, of.format, of.precision, of.options, of.protocol,
        of.batch, of.load, "deployment_failed", "it never answered",
    )  # fmt: skip
    found = points_of(night_of(*kept, gap), SUITE)
    assert {point.doubts for point in found} == {("incomplete",)}


def test_one_disturbed_round_of_three_costs_itself_and_not_the_night() -> None:
    of = case()
    calm = cell_rounds(of, rps=100.0)[:2]
    (disturbed,) = cell_rounds(of, rps=50.0, doubts=[Doubt(Reason.FOREIGN_LOAD, "a backup ran")])[2:]
    found = by_metric(points_of(night_of(*calm, disturbed), SUITE))
    assert not found[Metric.THROUGHPUT_RPS].doubted
    assert found[Metric.THROUGHPUT_RPS].figure.value == pytest.approx(100.0)


def test_two_disturbed_rounds_of_three_cost_the_night() -> None:
    of = case()
    calm = cell_rounds(of)[:1]
    disturbed = cell_rounds(of, doubts=[Doubt(Reason.FOREIGN_LOAD, "a backup ran")])[1:]
    assert {point.doubts for point in points_of(night_of(*calm, *disturbed), SUITE)} == {("foreign_load",)}


def test_what_only_the_night_as_a_whole_shows_is_not_excused_by_sound_rounds() -> None:
    of = case()
    calm, disturbed = cell_rounds(of)[:2], cell_rounds(of, doubts=[Doubt(Reason.FOREIGN_LOAD, "a backup ran")])[2:]
    cell_key = calm[0].cell_id.partition(".")[0]
    found = GateRecord("tonight", cell_key, Reason.RATE_EXCEEDED, "achieved <= offered", "more than was sent")
    points = points_of(night_of(*calm, *disturbed, found), SUITE)
    assert {point.doubts for point in points} == {("rate_exceeded",)}


def test_a_rate_of_nothing_is_never_judged() -> None:
    found = by_metric(points_of(night_of(*cell_rounds(case(), rps=0.0)), SUITE))
    assert found[Metric.THROUGHPUT_RPS].doubts == ("out_of_range",)


def test_a_cell_that_was_not_measured_is_a_gap() -> None:
    assert points_of(summarise([started()]), SUITE) == []


def test_a_cell_can_be_planned_again_from_what_it_left() -> None:
    setup = Setup("triton", Export("resnet", case().format, case().precision, "random"), (("a", 1), ("b", "x")))
    load = ClosedLoop(8)
    (planned,) = expand({setup: [(case().protocol, 2, load)]}, 1, 0).cells
    of = case(load=load, batch=2, options={"b": "x", "a": 1})
    (cell,) = night_of(*cell_rounds(of)).cells
    made = plan_cell(cell, case_of(cell), "random")
    assert (made.setup, made.point) == (planned.setup, planned.point)
    assert cell_key(made.setup, *made.point) == planned.key


def test_a_series_is_named_as_people_do() -> None:
    (cell,) = night_of(*cell_rounds(case())).cells
    assert series_label(cell, Metric.LATENCY_P50_NS) == "triton resnet b1 raw-http closed c4, p50 latency"
