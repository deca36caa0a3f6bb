"""What the page claims stands out: only what the intervals separate."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.report import findings
from dashboards.report.series import Looks
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.summary import CellSummary, NightSummary


def _contest(night: NightSummary, load: str) -> findings.Contest:
    return next(each for each in findings.contests(night, Looks(night)) if each.load == load)


def _changed(night: NightSummary, server: str, **changes: object) -> NightSummary:
    def change(cell: CellSummary) -> CellSummary:
        return replace(cell, **changes) if cell.server == server and cell.rounds else cell

    return replace(night, cells=tuple(map(change, night.cells)))


def test_a_separate_interval_makes_one_leader(night: NightSummary) -> None:
    median = _contest(night, "closed c1").p50
    assert median is not None
    assert median.leaders == ("onnxruntime",)
    assert median.runner_up.startswith("triton · kserve-grpc")


def test_an_overlap_is_undecided(night: NightSummary) -> None:
    level = {name: Estimate(9e6, 1e6, 90e6) for name in ("p50", "p99")}
    median = _contest(_changed(night, "fastapi", latency_ns=level), "closed c1").p50
    assert median is not None
    assert median.leaders == ("onnxruntime", "fastapi")


def test_the_in_process_floor_and_doubted_cells_do_not_compete(night: NightSummary) -> None:
    unbeatable = {name: Estimate(1.0, 0.9, 1.1) for name in ("p50", "p99")}
    floor = _changed(night, "pytorch", latency_ns=unbeatable)
    doubted = _changed(night, "flask", latency_ns=unbeatable, doubts=(Doubt(Reason.ERRORS, "some"),))
    for changed in (floor, doubted):
        median = _contest(changed, "closed c1").p50
        assert median is not None
        assert median.leaders == ("onnxruntime",)


def test_open_loops_are_not_compared_on_throughput(night: NightSummary) -> None:
    assert _contest(night, "poisson 20 rps").throughput is None
    assert _contest(night, "closed c4").throughput is not None


def test_the_headline_says_who_and_how_often(night: NightSummary) -> None:
    found = findings.contests(night, Looks(night))
    assert findings.in_words(found) == "onnxruntime has the lowest median latency in all 3 comparisons at equal load."
    a, b = findings.Standing(("a",), "1"), findings.Standing(("a", "b"), "1")
    mixed = [findings.Contest("m", "l", standing, None, None) for standing in (a, a, b)]
    assert findings.in_words(mixed) == (
        "Of 3 comparisons at equal load, a has the lowest median latency in 2; "
        "1 cannot be decided because the intervals overlap."
    )
    assert "intervals overlap" in findings.in_words(mixed[2:])
    assert "nothing to compare" in findings.in_words([])


def test_troubles_name_the_server_and_the_export(night: NightSummary) -> None:
    assert findings.troubles(night) == [
        "flask did not come up with bert_base in 3 of 3 starts.",
        "bert_base as onnx differs from PyTorch by more than its tolerance.",
    ]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_an_open_bound_never_separates(higher_is_better: bool) -> None:
    for best, other in ((Estimate(1), Estimate(2, 1.9, 2.1)), (Estimate(1, 0.9, 1.1), Estimate(2))):
        assert not findings.separates(best, other, higher_is_better=higher_is_better)


bounds = st.lists(st.floats(0.1, 1e6), min_size=4, max_size=4)


@given(figures=bounds)
def test_separation_cannot_hold_both_ways(figures: list[float]) -> None:
    a_low, a_high = sorted(figures[:2])
    b_low, b_high = sorted(figures[2:])
    a, b = Estimate(a_low, a_low, a_high), Estimate(b_low, b_low, b_high)
    assert not (findings.separates(a, b, higher_is_better=True) and findings.separates(b, a, higher_is_better=True))
    assert findings.separates(a, b, higher_is_better=True) == findings.separates(b, a, higher_is_better=False)
