"""The plots: who is drawn, how doubt looks, and that colours mean the same everywhere."""

import re
from dataclasses import replace
from typing import Any

import pytest

from dashboards.report import figures
from dashboards.report.plots import concurrency, distribution, open_loop, startup, throughput
from dashboards.report.plots.base import Plot, value_axis
from dashboards.report.series import Looks, setup_names
from dashboards.report.theme import SERIES, swaps
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, OpenLoop
from nightbench.summary import CellSummary, NightSummary

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b|rgba?\([^)]*\)")


def _mobilenet(night: NightSummary) -> list[CellSummary]:
    return [cell for cell in night.cells if cell.model == "mobilenet_v2"]


def _trace(figure: Any, name: str, mode: str = "markers") -> Any:
    return next(trace for trace in figure.data if trace.name == name and mode in trace.mode)


@pytest.fixture(scope="module")
def sections(night: NightSummary) -> list[figures.PlotSection]:
    return figures.sections(night, Looks(night))


@pytest.fixture(scope="module")
def plots(sections: list[figures.PlotSection]) -> list[Plot]:
    return [plot for section in sections for plot in section.plots]


def test_every_question_has_a_plot(sections: list[figures.PlotSection]) -> None:
    assert [section.anchor for section in sections if section.plots] == [
        "throughput",
        "concurrency",
        "distribution",
        "open-loop",
        "startup",
    ]
    assert sections[2].choices == ("closed c1", "closed c4", "poisson 20 rps")


def test_every_plot_names_its_units(plots: list[Plot]) -> None:
    for plot in plots:
        titles = [plot.figure.layout.xaxis.title.text, plot.figure.layout.yaxis.title.text]
        assert any(re.search(r"\(ms\)|seconds|\(MiB\)", str(title)) for title in titles), plot.title
        assert plot.caption.endswith(".")


def test_every_colour_has_a_dark_counterpart(plots: list[Plot]) -> None:
    used = {colour for plot in plots for colour in _COLOUR.findall(plot.figure.to_json())}
    assert used - set(swaps()) == {"rgba(0,0,0,0)"}


def test_a_server_keeps_its_colour_in_every_plot(night: NightSummary) -> None:
    looks = Looks(night)
    servers = sorted({cell.server for cell in night.cells})
    assert [looks.colour(server) for server in servers] == list(SERIES[: len(servers)])
    for cell in night.cells:
        assert looks.of(cell).colour == looks.colour(cell.server)


def test_servers_that_share_a_colour_are_dashed_apart(night: NightSummary) -> None:
    (first, *_) = _mobilenet(night)
    servers = [f"server-{number:02}" for number in range(13)]
    many = replace(night, cells=tuple(replace(first, server=name, cell_key=name) for name in servers), deployments=())
    legend = Looks(many).legend
    assert len({(look.colour, look.dash) for look in legend}) == len(servers)


def test_doubted_points_are_hollow(night: NightSummary) -> None:
    figure = throughput.figure(_mobilenet(night), "p99", Looks(night))
    assert [symbol.endswith("-open") for symbol in _trace(figure, "flask").marker.symbol] == [False, True]
    assert not any(symbol.endswith("-open") for symbol in _trace(figure, "fastapi").marker.symbol)
    assert "doubted: errors" in _trace(figure, "flask").hovertext[1]


def test_a_doubted_distribution_is_dotted(night: NightSummary) -> None:
    cells = [cell for cell in _mobilenet(night) if isinstance(cell.load, OpenLoop)]
    figure = distribution.figure(cells, Looks(night))
    assert _trace(figure, "triton · kserve-grpc", "lines").line.dash == "dot"
    assert _trace(figure, "fastapi", "lines").line.dash == "solid"


def test_error_bars_reach_the_interval_on_both_axes(night: NightSummary) -> None:
    cell = next(c for c in _mobilenet(night) if c.server == "fastapi" and c.load == ClosedLoop(1))
    trace = _trace(throughput.figure([cell], "p50", Looks(night)), "fastapi")
    delay, rate = cell.latency_ns["p50"], cell.throughput_rps
    assert rate is not None
    assert delay.high is not None
    assert rate.low is not None
    assert abs(trace.y[0] + trace.error_y.array[0] - delay.high / 1e6) < 1e-9
    assert abs(trace.x[0] - trace.error_x.arrayminus[0] - rate.low) < 1e-9


def test_an_unknown_bound_draws_no_bar(night: NightSummary) -> None:
    cell = next(c for c in _mobilenet(night) if c.load == ClosedLoop(1))
    open_ended = replace(cell, latency_ns={"p99": Estimate(5e6, 4e6)})
    trace = throughput.figure([open_ended], "p99", Looks(night)).data[0]
    assert (trace.error_y.array[0], trace.error_y.arrayminus[0]) == (0.0, 1.0)


def test_open_loops_stay_out_of_closed_loop_plots(night: NightSummary) -> None:
    looks = Looks(night)
    open_cells = [cell for cell in night.cells if isinstance(cell.load, OpenLoop)]
    assert throughput.figure(open_cells, "p50", looks) is None
    assert concurrency.figure(open_cells, "p50", looks) is None
    assert open_loop.figure([cell for cell in night.cells if isinstance(cell.load, ClosedLoop)], looks) is None


def test_several_rates_make_lines_over_the_rate(night: NightSummary) -> None:
    cells = [cell for cell in _mobilenet(night) if cell.server == "fastapi" and isinstance(cell.load, OpenLoop)]
    faster = [replace(cell, load=OpenLoop(40)) for cell in cells]
    figure = open_loop.figure([*faster, *cells], Looks(night))
    assert list(_trace(figure, "fastapi p99").x) == [20, 40]


def test_one_wild_interval_does_not_flatten_the_plot(night: NightSummary) -> None:
    cells = [cell for cell in _mobilenet(night) if cell.load == ClosedLoop(1)]
    wild = replace(cells[0], latency_ns={"p50": Estimate(12e6, 0.1e6, 5_000e6)})
    figure = concurrency.figure([wild, *cells[1:]], "p50", Looks(night))
    assert figure.layout.yaxis.range[1] < 40


def test_far_apart_latencies_get_a_log_axis(night: NightSummary) -> None:
    assert concurrency.figure(night.cells, "p50", Looks(night)).layout.yaxis.type == "log"
    assert concurrency.figure(_mobilenet(night), "p50", Looks(night)).layout.yaxis.type is None


def test_a_server_that_never_came_up_keeps_its_row(night: NightSummary) -> None:
    bert = [setup for setup in night.deployments if setup.model == "bert_base"]
    figure = startup.start(bert, Looks(night))
    assert "flask" in figure.layout.yaxis.categoryarray
    assert [note.text for note in figure.layout.annotations] == ["never came up"]


def test_names_carry_only_what_differs(night: NightSummary) -> None:
    cells = _mobilenet(night)
    assert set(setup_names(cells)) == {
        "fastapi",
        "flask",
        "onnxruntime",
        "pytorch",
        "triton · kserve-grpc",
        "triton · kserve-http",
    }
    fastapi = next(cell for cell in cells if cell.server == "fastapi")
    assert setup_names([fastapi, replace(fastapi, batch=8)]) == ["fastapi · batch 1", "fastapi · batch 8"]


def test_markup_in_a_name_is_not_markup_for_plotly(night: NightSummary) -> None:
    cell = replace(night.cells[-1], server="<a href='x'>y</a>")
    renamed = replace(night, cells=(cell,), deployments=())
    figure = open_loop.figure([cell], Looks(renamed))
    assert "<a" not in figure.data[0].y[0]
    assert "<a" not in figure.data[0].hovertext[0]


def test_a_night_without_figures_has_no_plots(empty_night: NightSummary) -> None:
    assert not any(section.plots for section in figures.sections(empty_night, Looks(empty_night)))


def test_a_log_axis_spells_its_ticks_out() -> None:
    drawn = value_axis("latency", [Estimate(0.4), Estimate(60.0)])
    assert drawn["ticktext"] == ["0.5", "1", "2", "5", "10", "20", "50"]
