"""What only some kinds of cells have is gathered too: answers of searches, rates offered, and streams."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from nightbench.figures import Estimate, SearchFigures, StreamFigures
from nightbench.load import Goal, PeakShare, Search
from nightbench.stats.combine import combine
from tests.nightbench.summarised import NS, RATE, case, measured, only


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
