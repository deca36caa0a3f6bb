"""Searches, shares of a peak, streams and calibrations: on the page where there are any, and drawn truly."""

import re
from dataclasses import replace
from typing import Any

import pytest

from dashboards.report import figures, findings
from dashboards.report.page import render
from dashboards.report.plots import open_loop, search
from dashboards.report.searches import searches
from dashboards.report.series import Looks
from dashboards.report.streams import bounds, streams
from nightbench.load import OpenLoop, PeakShare, Search
from nightbench.record import EndedBy
from nightbench.summary import CellSummary, NightSummary, summarise
from tests.dashboards.searching import BURSTS, CAPACITY, KNEE, PEAK, SHARE, SLO, searching_records
from tests.dashboards.test_page import _Reader


@pytest.fixture(scope="module")
def night() -> NightSummary:
    return summarise(searching_records())


@pytest.fixture(scope="module")
def page(night: NightSummary) -> str:
    return render(night)


@pytest.fixture(scope="module")
def text(page: str) -> str:
    return _Reader(page).text


def _cells(night: NightSummary, load: Any) -> list[CellSummary]:
    return [cell for cell in night.cells if cell.load == load]


def test_a_search_shows_its_answer_and_every_step_on_the_way(night: NightSummary, text: str) -> None:
    group = next(group for group in searches(night, Looks(night)) if group.load == "most poisson rps with p99 <= 40 ms")
    row = next(row for row in group.rows if row.name == "onnxruntime")
    assert [way.round for way in row.ways] == [1, 2, 3]
    steps = row.ways[0].steps
    assert [step.chosen for step in steps] == [False] * 6 + [True]
    assert [step.remark for step in steps] == ["", "", "", "over-saturated", "", "", ""]
    assert steps[0].load == "c8"
    assert " rps, p99 " in steps[0].figure
    assert steps[3].load.endswith(" rps")
    assert steps[3].figure == "p99 2,340 ms"
    assert str(row.answer).replace(" rps", "") in text
    assert "the next rate that could be told apart broke the bound" in text


def test_a_peak_is_told_by_throughput_and_a_knee_by_both(night: NightSummary) -> None:
    groups = {group.load: group.rows[0].ways[0].steps for group in searches(night, Looks(night))}
    assert groups["peak"][0].load == "c1"
    assert groups["peak"][0].figure.endswith(" rps")
    assert " rps, p50 " in groups["knee"][0].figure


def test_an_answer_without_an_upper_bound_says_so_and_is_doubted(night: NightSummary, text: str) -> None:
    group = next(group for group in searches(night, Looks(night)) if group.load.startswith("most"))
    row = next(row for row in group.rows if row.name.startswith("fastapi"))
    assert row.doubted
    assert row.ways[0].answer.interval.startswith("[\u2265 ")
    assert "search open : 3 of 3 rounds: every rate up to the client's ceiling kept the bound" in text


def test_the_chosen_step_is_drawn_large_and_a_doubted_one_hollow(night: NightSummary) -> None:
    figure = search.figure(_cells(night, SLO), Looks(night))
    lines = [trace for trace in figure.data if trace.name == "onnxruntime"]
    assert len(lines) == 3
    for line in lines:
        assert list(line.x) == sorted(line.x)
        assert [size for size in line.marker.size if size > 6] == [13]
        assert [symbol.endswith("-open") for symbol in line.marker.symbol] == [False] * 5 + [True]
    bound = next(trace for trace in figure.data if trace.name == "bound")
    assert set(bound.y) == {40.0}


@pytest.mark.parametrize("goal", [PEAK, KNEE])
def test_searches_over_concurrency_are_drawn_as_throughput(night: NightSummary, goal: Search) -> None:
    figure = search.figure(_cells(night, goal), Looks(night))
    assert figure.layout.xaxis.title.text == "requests in flight"
    assert list(figure.data[0].x) == [1, 2, 4, 8, 16, 32]
    assert "throughput" in figure.layout.yaxis.title.text


def test_a_search_whose_steps_left_no_figure_has_no_plot(night: NightSummary) -> None:
    cells = _cells(night, SLO)
    bare = [
        replace(
            cell,
            measurements=tuple(
                replace(
                    record,
                    search=replace(
                        record.search, steps=tuple(replace(step, latency_ns={}) for step in record.search.steps)
                    ),
                )
                for record in cell.measurements
                if record.search
            ),
        )
        for cell in cells
    ]
    assert search.figure(bare, Looks(night)) is None
    assert search.figure(_cells(night, SHARE), Looks(night)) is None


def test_searches_compete_by_their_answers_and_shares_of_a_peak_not_at_all(night: NightSummary) -> None:
    found = {contest.load: contest for contest in findings.contests(night, Looks(night))}
    assert found["peak"].throughput is not None
    assert found["peak"].throughput.leaders == ("onnxruntime",)
    assert (found["peak"].p50, found["peak"].p99) == (None, None)
    assert not any("of peak" in load for load in found)


def test_a_share_of_a_peak_stands_at_the_rate_that_was_offered(night: NightSummary, text: str) -> None:
    cells = _cells(night, SHARE)
    offered = {cell.server: cell.offered_rps for cell in cells}
    figure = open_loop.figure(cells, Looks(night))
    drawn = {trace.name: trace.x[0] for trace in figure.data}
    for server, rate in offered.items():
        assert rate is not None
        assert rate.value == pytest.approx(0.7 * CAPACITY[server], rel=0.05)
        assert any(name.startswith(server) and x == rate.value for name, x in drawn.items())
    assert "offered : 140 rps [" in text


def test_other_arrivals_are_another_plot(night: NightSummary) -> None:
    section = next(each for each in figures.sections(night, Looks(night)) if each.anchor == "open-loop")
    assert [plot.title for plot in section.plots] == [
        "mobilenet_v2: gamma 0.4 arrivals",
        "mobilenet_v2: poisson arrivals",
    ]
    assert ["Shares of a peak" in plot.caption for plot in section.plots] == [False, True]


def test_distributions_are_drawn_of_loads_not_of_answers(night: NightSummary) -> None:
    section = next(each for each in figures.sections(night, Looks(night)) if each.anchor == "distribution")
    assert "poisson 70 % of peak" in section.choices
    assert not {"peak", "knee"} & set(section.choices)


def test_what_ended_a_cell_is_said_once(night: NightSummary, text: str) -> None:
    (cell,) = [cell for cell in _cells(night, BURSTS) if cell.server == "onnxruntime"]
    assert cell.ended_by == {EndedBy.PRECISION: 3}
    assert "ended early : as precise as asked in 3 of 3 rounds" in text
    assert "over-saturated : 3 of 3 rounds: the backlog grew by 41 requests a second" in text
    assert "ended early : the backlog only grew" not in text


def test_streams_have_their_own_figures(night: NightSummary, text: str) -> None:
    one, eight = streams(night, Looks(night))
    assert (one.model, one.load, eight.load) == ("smollm", "closed c1", "closed c8")
    (row,) = one.rows
    assert len(row.figures) == 6
    assert str(row.figures[0]).removesuffix(row.figures[0].interval).endswith("ms ")
    assert bounds(night) == "first token within 200 ms and mean gap within 50 ms"
    assert "goodput (rps)" in text
    assert row.figures[4].value in text


def test_goodput_is_no_column_where_no_bound_was_given(night: NightSummary) -> None:
    cells = tuple(
        replace(cell, stream=replace(cell.stream, goodput_rps=None, slo={})) if cell.stream else cell
        for cell in night.cells
    )
    text = _Reader(render(replace(night, cells=cells))).text
    assert "first token p99 (ms)" in text
    assert "goodput" not in text.lower()


def test_the_client_s_own_limits_are_a_table_with_its_failures(night: NightSummary, text: str) -> None:
    assert [each.protocol.value for each in night.calibrations] == [
        *("kserve-grpc", "kserve-http", "opaque-http", "openai", "raw-http")
    ]
    assert "ceiling (rps)" in text
    assert "not calibrated : round 0: the null server did not come up: <b>port taken</b>" in text
    assert "The client could not be calibrated for kserve-grpc with mobilenet_v2 in 1 of 1 attempts." in text
    assert re.search(r"opaque-http canary 1 100 B 100 B 4\d,\d+ ", text)
    assert re.search(r"openai smollm .* or more ", text)
    assert text.count(" or more ") == 1


def test_every_plot_has_a_place_of_its_own(page: str) -> None:
    reader = _Reader(page)
    ids = [held["id"] for _, held in reader.elements if "id" in held]
    assert len(ids) == len(set(ids))
    wanted = {held["data-plot"] for _, held in reader.elements if "data-plot" in held}
    assert wanted <= set(ids)
    assert {"plot-searches-1", "plot-searches-2", "plot-searches-3"} <= wanted


def test_hostile_names_and_details_do_not_leave_their_place(night: NightSummary) -> None:
    hostile = "</script><script>alert(1)</script>"
    cells = []
    for cell in night.cells:
        measurements = tuple(
            replace(record, search=replace(record.search, detail=hostile)) if record.search else record
            for record in cell.measurements
        )
        cells.append(replace(cell, server=hostile, model=hostile, measurements=measurements))
    calibrations = tuple(replace(each, model=hostile) for each in night.calibrations)
    page = render(replace(night, cells=tuple(cells), deployments=(), calibrations=calibrations))
    assert hostile not in page
    assert len(_Reader(page).scripts) == 2


def test_an_open_loop_that_follows_no_peak_stays_at_its_own_rate(night: NightSummary) -> None:
    (cell,) = [cell for cell in _cells(night, OpenLoop(20)) if cell.server == "onnxruntime"]
    assert list(open_loop.figure([cell, replace(cell, load=OpenLoop(40))], Looks(night)).data[0].x) == [20, 40]
    unknown = replace(cell, load=PeakShare(0.5), offered_rps=None)
    assert open_loop.figure([unknown], Looks(night)) is None
