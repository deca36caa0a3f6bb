"""Containers, GPUs, batch sizes and the Pareto front, as the report tells and draws them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.report import figures
from dashboards.report import format as fmt
from dashboards.report.batches import batches
from dashboards.report.page import render
from dashboards.report.pareto import front, inferences, rows
from dashboards.report.plots import throughput
from dashboards.report.provenance import provenance
from dashboards.report.series import Looks, launched, setup_names
from dashboards.report.servers import ServerRow, inside, servers
from dashboards.report.tables import deployments
from dashboards.report.told import Told, told_of
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.load import ClosedLoop
from nightbench.summary import CellSummary, NightSummary, summarise
from tests.dashboards.conftest import night_records
from tests.dashboards.wide import DIGEST, SIZES, in_containers, on_gpu, over_batches

MODELS = ("mobilenet_v2",)


@pytest.fixture(scope="module")
def told() -> Told:
    return told_of(in_containers(night_records(MODELS)))


@pytest.fixture(scope="module")
def wide() -> NightSummary:
    return summarise(over_batches(on_gpu(in_containers(night_records(MODELS)))))


def by_name(night: NightSummary, told: Told) -> dict[str, ServerRow]:
    return {row.name: row for row in servers(night, told.starts, Looks(night))}


def test_a_run_of_containers_says_so_and_from_which_images(wide: NightSummary, told: Told) -> None:
    assert launched(wide) == "servers in containers"
    assert {name: row.started for name, row in by_name(wide, told).items()} == {
        "fastapi": "docker",
        "flask": "docker",
        "onnxruntime": "docker",
        "pytorch": "in-process",
        "triton": "docker",
    }
    images = {row.name: row.image for row in deployments(wide, Looks(wide), told.starts)}
    assert images["triton"] == f"nightbench/triton:0d9c5c2a9f3e {DIGEST}"
    assert images["pytorch"] == ""
    page = render(wide, {}, told)
    assert "servers in containers" in page
    assert DIGEST in page
    assert provenance(wide, told).note.endswith(
        "Servers were launched by docker: the suite says `launcher: docker`, or says auto, which found an engine."
    )


def test_names_tell_containers_from_processes_wherever_both_are(wide: NightSummary, night: NightSummary) -> None:
    contained = [cell for cell in wide.cells if cell.load == ClosedLoop(4)]
    local = [cell for cell in night.cells if cell.load == ClosedLoop(4) and cell.model in MODELS]
    assert "fastapi" in setup_names(contained)
    assert "fastapi" in setup_names(local)
    names = setup_names([*contained, *local])
    assert {"fastapi · docker", "fastapi · process", "triton · kserve-grpc · docker", "pytorch"} <= set(names)
    assert launched(replace(night, cells=(*wide.cells, *local))) == "some servers in containers, some as processes"


def test_the_busiest_window_of_the_busiest_gpu_counts(wide: NightSummary, told: Told) -> None:
    row = by_name(wide, told)["onnxruntime"]
    assert [figure.value for figure in row.gpu] == ["95.0", "3.00", "200"]
    assert [figure.unit for figure in row.gpu] == ["%", "GiB", "W"]
    assert (row.peak_memory.value, row.processors.value) == ("700", "50.0")
    assert "GPU busy" in render(wide, {}, told)


def test_without_a_gpu_there_are_no_gpu_columns(night: NightSummary) -> None:
    assert all(row.gpu == () for row in servers(night, (), Looks(night)))
    page = render(night)
    assert "No GPU was seen in this run" in page
    assert "GPU busy" not in page


def test_a_servers_overhead_is_over_the_same_export_called_directly(night: NightSummary) -> None:
    def p50(server: str) -> float:
        return next(
            cell.latency_ns["p50"].value / 1e6
            for cell in night.cells
            if (cell.server, cell.model, cell.load) == (server, "mobilenet_v2", ClosedLoop(1))
        )

    rows = {row.name: row for row in servers(night, (), Looks(night)) if row.model == "mobilenet_v2"}
    assert float(rows["fastapi"].beyond.value) == pytest.approx(p50("fastapi") - p50("pytorch"), abs=0.006)
    # Another format computes otherwise, and the floor is not beyond itself.
    assert rows["onnxruntime"].beyond.value == rows["pytorch"].beyond.value == fmt.NOTHING


def test_a_server_without_a_sound_throughput_shows_a_doubted_one(night: NightSummary) -> None:
    doubted = replace(
        night, cells=tuple(replace(cell, doubts=(Doubt(Reason.FOREIGN_LOAD, "some"),)) for cell in night.cells)
    )
    for row in servers(doubted, (), Looks(doubted)):
        assert row.most_doubted
        assert row.alone_doubted
        assert row.at == "closed c4, batch 1"


def test_queue_times_are_told_by_cell(wide: NightSummary) -> None:
    told = inside(wide, Looks(wide))
    assert len(told) == sum(cell.rounds > 0 for cell in wide.cells)
    assert {row.queue.value for row in told} == {"12.5"}
    assert {row.compute.value for row in told} == {fmt.NOTHING}


def test_batch_sizes_make_a_table_and_plots(wide: NightSummary) -> None:
    (group,) = batches(wide, Looks(wide))
    assert (group.model, group.load, group.sizes) == ("mobilenet_v2", "closed c1", SIZES)
    for row in group.rows:
        rates = [float(cell.inferences.value.replace(",", "")) for cell in row.cells if cell is not None]
        assert rates == sorted(rates)
        assert len(rates) == len(SIZES)
    section = figures.batches(wide, Looks(wide))
    assert section is not None
    assert [plot.title.rpartition(": ")[2] for plot in section.plots] == ["p50", "p99", "inferences"]
    for plot in section.plots:
        assert plot.figure.layout.xaxis.ticktext == tuple(map(str, SIZES))
    page = render(wide)
    assert 'id="batch"' in page
    assert "batch 32</th>" in page


def test_one_batch_size_is_no_sweep(night: NightSummary) -> None:
    assert batches(night, Looks(night)) == []
    assert figures.batches(night, Looks(night)) is None
    assert 'id="batch"' not in render(night)


def test_curves_over_concurrency_do_not_mix_batch_sizes(wide: NightSummary) -> None:
    section = next(each for each in figures.sections(wide, Looks(wide)) if each.anchor == "concurrency")
    assert [plot.title for plot in section.plots] == ["mobilenet_v2, batch 1: p50", "mobilenet_v2, batch 1: p99"]
    for plot in section.plots:
        lines = [trace for trace in plot.figure.data if "markers" in trace.mode]
        assert all(list(trace.x) == [1, 4] for trace in lines)


def test_the_front_is_drawn_and_listed(wide: NightSummary) -> None:
    looks = Looks(wide)
    listed = rows(wide, looks, "p50")
    assert [(row.name, row.batch) for row in listed] == [("onnxruntime", size) for size in SIZES]
    figure = throughput.figure(wide.cells, "p50", looks)
    assert figure is not None
    stairs = next(trace for trace in figure.data if trace.name == throughput.FRONT)
    assert list(stairs.x) == sorted(stairs.x)
    assert list(stairs.y) == sorted(stairs.y)
    assert "inferences" in figure.layout.xaxis.title.text


def test_doubted_cells_are_on_no_front(wide: NightSummary) -> None:
    doubted = [
        replace(cell, doubts=(Doubt(Reason.ERRORS, "some"),)) if cell.server == "onnxruntime" else cell
        for cell in wide.cells
    ]
    best = front(doubted, "p50")
    assert best
    assert {cell.server for cell in best} == {"triton"}


def placed(template: CellSummary, points: list[tuple[float, float]]) -> list[CellSummary]:
    return [
        replace(template, cell_key=str(at), throughput_rps=Estimate(rate), latency_ns={"p50": Estimate(delay)})
        for at, (rate, delay) in enumerate(points)
    ]


@given(points=st.lists(st.tuples(st.integers(1, 9).map(float), st.integers(1, 9).map(float)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(night: NightSummary, points: list[tuple[float, float]]) -> None:
    template = next(cell for cell in night.cells if cell.server == "fastapi" and cell.load == ClosedLoop(1))
    best = front(placed(template, points), "p50")
    kept = [(rate.value, cell.latency_ns["p50"].value) for cell in best if (rate := inferences(cell)) is not None]

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] >= other[0] and one[1] <= other[1]

    assert kept == sorted(kept)
    assert set(kept) == {each for each in points if not any(beats(other, each) for other in points)}
