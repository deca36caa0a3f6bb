"""Figures of streamed answers whose every token's time is known."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.figures import Doubt, Estimate, Reason, StreamFigures
from nightbench.samples import Marks, Outcome, Samples
from nightbench.streaming import stream_figures

SECOND = 1_000_000_000
MS = 1_000_000
START, END = 5 * SECOND, 15 * SECOND


@dataclass
class Answer:
    intended_ns: int
    marks: list[tuple[int, int]]
    """Time and parts."""
    counted: int = -1
    outcome: Outcome = Outcome.OK
    done_ns: int | None = None

    @property
    def tokens(self) -> int:
        return max(self.counted, sum(parts for _, parts in self.marks))


def columns(answers: list[Answer]) -> tuple[Samples, Marks]:
    answers.sort(key=lambda answer: answer.intended_ns)
    intended = np.array([a.intended_ns for a in answers], np.int64)
    done = np.array([a.done_ns or max([a.intended_ns, *(at for at, _ in a.marks)]) for a in answers], np.int64)
    codes = np.array([a.outcome for a in answers], np.uint8)
    samples = Samples(intended, intended, intended, done, codes, np.zeros(len(answers), np.int64))
    marks = sorted(((at, row, n) for row, a in enumerate(answers) for at, n in a.marks), key=lambda mark: mark[0])
    table = np.array(marks, np.int64).reshape(-1, 3)
    counted = np.array([a.counted for a in answers], np.int64)
    return samples, Marks(table[:, 1], table[:, 0], table[:, 2], counted)


def judge(answers: list[Answer], **slo: float) -> tuple[StreamFigures, dict[Reason, Doubt]]:
    figures, doubts = stream_figures(*columns(answers), START, END, slo)
    return figures, {doubt.reason: doubt for doubt in doubts}


def cell(
    count: int = 1000, tokens: int = 20, gap_ns: int = 10 * MS, burst: int = 1, seed: int = 1, **more: Any
) -> list[Answer]:
    """Poisson arrivals from a second before the window to its end; 50 ms and more to the first token."""
    rng = np.random.default_rng(seed)
    answers = []
    for intended in rng.integers(START - SECOND, END, count).tolist():
        gaps = [int(rng.exponential(30 * MS)) + 50 * MS, *(rng.exponential(gap_ns, tokens // burst - 1).astype(int))]
        at = intended + np.cumsum(gaps)
        answers.append(Answer(intended, [(int(when), burst) for when in at], **more))
    return answers


def laid_out(answer: Answer) -> list[int]:
    """The times of all tokens of an answer without a count of its own."""
    return [at for at, parts in answer.marks for _ in range(parts)]


@pytest.mark.parametrize("burst", [1, 4])
def test_figures_are_those_of_all_tokens_laid_out(burst: int) -> None:
    answers = cell(burst=burst, tokens=20)
    figures, _ = judge(answers, ttft_ms=80.0, itl_ms=10.0)
    due = [answer for answer in answers if START <= answer.intended_ns < END]
    ttft = [laid_out(answer)[0] - answer.intended_ns for answer in due]
    gaps = np.concatenate([np.diff(laid_out(answer)) for answer in due])
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        for found, values in ((figures.ttft_ns[name], ttft), (figures.itl_ns[name], gaps)):
            assert found.value == pytest.approx(np.quantile(values, q))
            assert found.low is not None
            assert found.high is not None
            assert found.low <= found.value <= found.high
    assert figures.tokens == 20 * len(due)
    received = sum(START <= at < END for answer in answers for at in laid_out(answer))
    assert figures.tokens_per_s.value == pytest.approx(received / 10)
    good = [a for a in answers if laid_out(a)[0] - a.intended_ns <= 80 * MS and np.diff(laid_out(a)).mean() <= 10 * MS]
    assert 0 < len(good) < len(answers)
    assert figures.goodput_rps is not None
    assert figures.goodput_rps.value == sum(START <= max(laid_out(answer)) < END for answer in good) / 10


def test_a_steady_cell_is_not_doubted() -> None:
    assert judge(cell(counted=20))[1] == {}
    # One token that ends the answer and has no text is usual.
    assert judge(cell(counted=21))[1] == {}


def test_the_time_to_the_first_token_counts_from_when_it_was_due() -> None:
    figures, _ = judge([Answer(START + number * MS, [(START + 200 * MS, 1)]) for number in range(100)])
    assert figures.ttft_ns["p50"].value == pytest.approx(150.5 * MS)


def test_only_successful_answers_of_the_window_count() -> None:
    answers = cell(count=400)
    figures, _ = judge(list(answers), ttft_ms=1e9)
    failed = [
        Answer(START + SECOND, [(START + 2 * SECOND, 50)], 50, outcome)
        for outcome in (Outcome.TIMEOUT, Outcome.WRONG_OUTPUT, Outcome.PROTOCOL_ERROR)
    ]
    # Neither due nor heard inside the window.
    outside = [Answer(END, [(END + 1, 9), (END + SECOND, 9)]), Answer(0, [(1, 9), (START - 1, 9)])]
    assert judge([*answers, *failed, *outside], ttft_ms=1e9)[0] == figures


def test_answers_that_end_after_the_window_keep_their_gaps() -> None:
    late = [Answer(END - 1, [(END + 1, 1), *((END + step * SECOND, 1) for step in range(1, 30))]) for _ in range(40)]
    figures, _ = judge(late)
    assert figures.itl_ns["p50"].value == SECOND
    assert figures.tokens == 40 * 30
    assert figures.tokens_per_s.value == 0.0


def test_tokens_within_one_event_are_gaps_of_nothing() -> None:
    """Ten tokens in each of 5 events, 100 ms apart: the mean gap is that of a token, 400 / 49 ms."""

    def answer(number: int) -> Answer:
        return Answer(START + number * MS, [(START + number * MS + step * 100 * MS, 1) for step in range(5)], 50)

    figures, doubts = judge([answer(number) for number in range(200)], itl_ms=400 / 49 + 1e-6)
    assert figures.tokens == 200 * 50
    assert figures.itl_ns["p90"].value == 0.0
    assert figures.itl_ns["p95"].value == 100 * MS
    assert figures.goodput_rps is not None
    assert figures.goodput_rps.value == 20.0
    assert figures.tokens_per_s.value == 1000.0
    assert "10000 tokens, and 1000 events" in doubts[Reason.SERVER_COUNTS_DIFFER].detail
    assert "itl_p50" in doubts[Reason.SERVER_COUNTS_DIFFER].figures
    tighter, _ = judge([answer(number) for number in range(200)], itl_ms=400 / 49 - 1e-6)
    assert tighter.goodput_rps is not None
    assert tighter.goodput_rps.value == 0.0


def test_a_server_that_counts_too_few_is_doubted_and_still_answered() -> None:
    figures, doubts = judge(cell(counted=3))
    assert {Reason.SERVER_COUNTS_DIFFER} == doubts.keys()
    assert figures.itl_ns == judge(cell())[0].itl_ns


def test_bursts_are_doubted_where_they_decide_the_gaps() -> None:
    _, doubts = judge(cell(burst=4))
    assert doubts.keys() == {Reason.BIMODAL}
    assert doubts[Reason.BIMODAL].detail.startswith("79% of the tokens came together")
    assert doubts[Reason.BIMODAL].figures == ("itl_p50", "itl_p90", "itl_p95", "itl_p99")


def test_few_answers_are_refused_with_what_they_would_need() -> None:
    figures, doubts = judge(cell(count=60, tokens=4))
    assert "p99" not in figures.ttft_ns
    assert "ttft_p99 needs about 500 answers" in doubts[Reason.TOO_FEW_SAMPLES].detail
    assert "itl_p99" in doubts[Reason.TOO_FEW_SAMPLES].figures
    assert "ttft_p50" not in doubts[Reason.TOO_FEW_SAMPLES].figures


def test_answers_that_held_nothing_are_doubted_and_keep_no_bound() -> None:
    silent = [Answer(START + SECOND, [], done_ns=START + 2 * SECOND) for _ in range(50)]
    figures, doubts = judge([*cell(counted=20), *silent], ttft_ms=1e9)
    assert "50 of " in doubts[Reason.ERRORS].detail
    assert doubts[Reason.ERRORS].figures[0] == "ttft_p50"
    assert figures == judge(cell(counted=20), ttft_ms=1e9)[0]


def test_without_bounds_there_is_no_goodput_and_one_bound_is_enough() -> None:
    assert judge(cell(count=100))[0].goodput_rps is None
    answers = [Answer(START + number, [(START + number + 10 * MS, 1)]) for number in range(100)]
    for slo, good in (({"ttft_ms": 10.0}, 10.0), ({"ttft_ms": 9.99}, 0.0), ({"itl_ms": 1.0}, 10.0)):
        found = judge(list(answers), **slo)[0].goodput_rps
        assert found is not None
        assert found.value == good


def test_nothing_streamed() -> None:
    figures, doubts = judge([], ttft_ms=1.0)
    assert (figures.ttft_ns, figures.itl_ns, figures.tokens, figures.tokens_per_s) == ({}, {}, 0, Estimate(0.0))
    assert doubts.keys() == {Reason.TOO_FEW_SAMPLES}
    assert stream_figures(*columns([]), END, START, {})[0].tokens_per_s == Estimate(0.0)


def test_absurd_counts_cost_no_memory() -> None:
    answers = [Answer(START + n, [(START + n + MS, 1), (START + n + 2 * MS, 1)], 10_000_000) for n in range(1000)]
    figures, _ = judge(answers)
    assert figures.tokens == 10**10
    assert figures.tokens_per_s.value == 10**9


ANSWERS = st.builds(
    lambda intended, gaps, counted, outcome: Answer(
        intended,
        [(intended + sum(gap for gap, _ in gaps[: k + 1]), n) for k, (_, n) in enumerate(gaps)],
        counted,
        outcome,
    ),
    st.integers(START - SECOND, END + SECOND),
    st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 5)), max_size=8),
    st.integers(-1, 60),
    st.sampled_from([Outcome.OK, Outcome.OK, Outcome.OK, Outcome.RESET]),
)


@given(st.lists(ANSWERS, max_size=25))
def test_whatever_was_streamed_every_token_is_counted_once(answers: list[Answer]) -> None:
    figures, _ = judge(list(answers), ttft_ms=500.0, itl_ms=100.0)
    spoke = [a for a in answers if a.outcome is Outcome.OK and a.marks]
    assert figures.tokens == sum(a.tokens for a in spoke if START <= a.intended_ns < END)
    everywhere = stream_figures(*columns(list(answers)), 0, 10**12, {})[0].tokens_per_s
    assert everywhere.value == pytest.approx(sum(a.tokens for a in spoke) / 1000)
    assert figures.goodput_rps is not None
    assert figures.goodput_rps.value <= len(spoke) / 10


def test_a_server_that_counts_no_tokens_or_fewer_than_came() -> None:
    figures, _ = judge(cell(tokens=10, counted=0))
    assert figures == judge(cell(tokens=10))[0]
    assert judge(cell(tokens=10, counted=4))[0] == figures
