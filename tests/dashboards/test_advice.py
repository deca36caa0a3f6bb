"""Which server for which use: only what sound, separate figures decide."""

from dataclasses import replace
from typing import Any

import pytest

from dashboards.report.advice import Advice, advice
from dashboards.report.series import Looks
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.load import ClosedLoop
from nightbench.summary import CellSummary, NightSummary, summarise
from tests.dashboards.conftest import night_records
from tests.dashboards.wide import over_batches


def of(night: NightSummary, model: str = "mobilenet_v2") -> dict[str, Advice]:
    return {each.use: each for each in advice(night, Looks(night)) if each.model == model}


def changed(night: NightSummary, server: str, **changes: Any) -> NightSummary:
    def change(cell: CellSummary) -> CellSummary:
        return replace(cell, **changes) if cell.server == server and cell.rounds else cell

    return replace(night, cells=tuple(map(change, night.cells)))


def leaders(told: Advice) -> tuple[str, ...]:
    assert told.standing is not None
    return told.standing.leaders


def test_each_load_of_the_suite_speaks_of_one_use(night: NightSummary) -> None:
    found = of(night)
    assert list(found) == [
        "one user at a time",
        "4 users at once, none of them kept waiting",
        "requests that come when they like, as from the internet",
        "as many requests as it can take",
        "scaled to zero and back, or restarted often",
        "little memory, many models on a machine",
    ]
    assert leaders(found["one user at a time"]) == ("onnxruntime",)
    assert leaders(found["as many requests as it can take"]) == ("onnxruntime (closed c4)",)
    assert leaders(found["little memory, many models on a machine"]) == ("onnxruntime",)


def test_batches_speak_of_bulk_work() -> None:
    night = summarise(over_batches(night_records(("mobilenet_v2",))))
    bulk = of(night)["work in bulk, where nobody waits"]
    assert leaders(bulk) == ("onnxruntime (closed c1, batch 32)",)
    assert bulk.standing is not None
    assert "inferences/s" in bulk.standing.figure


def test_the_doubted_are_left_out_by_name_and_reason(night: NightSummary) -> None:
    assert of(night)["4 users at once, none of them kept waiting"].left_out == ("flask (errors)",)


def test_a_doubt_about_the_tail_leaves_the_median_standing(night: NightSummary) -> None:
    tail = changed(night, "onnxruntime", doubts=(Doubt(Reason.TOO_FEW_SAMPLES, "few", ("p99",)),))
    found = of(tail)
    assert leaders(found["one user at a time"]) == ("onnxruntime",)
    crowd = found["4 users at once, none of them kept waiting"]
    assert "onnxruntime" not in leaders(crowd)
    assert "onnxruntime (too few samples)" in crowd.left_out


def test_without_a_sound_figure_nobody_is_recommended(night: NightSummary) -> None:
    doubted = replace(
        night, cells=tuple(replace(cell, doubts=(Doubt(Reason.FOREIGN_LOAD, "some"),)) for cell in night.cells)
    )
    alone = of(doubted)["one user at a time"]
    assert alone.standing is None
    assert alone.only.startswith("no recommendation: every figure is doubted; onnxruntime looked best, 5.0")
    # What was measured before any load is not touched by it.
    assert leaders(of(doubted)["scaled to zero and back, or restarted often"]) == ("onnxruntime",)


def test_one_sound_figure_is_no_comparison(night: NightSummary) -> None:
    cells = tuple(
        cell if cell.server == "fastapi" else replace(cell, doubts=(Doubt(Reason.ERRORS, "some"),))
        for cell in night.cells
    )
    alone = of(replace(night, cells=cells))["one user at a time"]
    assert alone.standing is None
    assert alone.only.startswith("fastapi, 12.")
    assert alone.only.endswith("is the only one that is not doubted")


def test_overlapping_intervals_recommend_nobody(night: NightSummary) -> None:
    wide = changed(night, "fastapi", latency_ns={"p50": Estimate(9e6, 1e6, 90e6)})
    assert leaders(of(wide)["one user at a time"]) == ("onnxruntime", "fastapi")


def test_the_in_process_floor_is_recommended_for_nothing(night: NightSummary) -> None:
    best = {name: Estimate(1.0, 0.9, 1.1) for name in ("p50", "p99")}
    floor = changed(night, "pytorch", latency_ns=best, throughput_rps=Estimate(1e9, 0.9e9, 1.1e9))
    setups = tuple(
        replace(setup, cold_start_ns=Estimate(1.0, 0.9, 1.1)) if setup.server == "pytorch" else setup
        for setup in night.deployments
    )
    for told in of(replace(floor, deployments=setups)).values():
        assert not any("pytorch" in name for name in (*leaders(told), *told.left_out))


def test_a_server_that_failed_to_start_is_no_server_to_restart(night: NightSummary) -> None:
    setups = tuple(
        replace(setup, failed=1) if setup.server == "onnxruntime" and setup.model == "mobilenet_v2" else setup
        for setup in night.deployments
    )
    told = of(replace(night, deployments=setups))["scaled to zero and back, or restarted often"]
    assert told.left_out == ("onnxruntime (1 of 3 starts failed)",)


@pytest.mark.parametrize("kept", ["fastapi", "nobody"])
def test_a_choice_takes_two(night: NightSummary, kept: str) -> None:
    cells = tuple(cell for cell in night.cells if cell.server == kept and cell.load == ClosedLoop(1))
    setups = tuple(setup for setup in night.deployments if setup.server == kept)
    assert advice(replace(night, cells=cells, deployments=setups), Looks(night)) == []
