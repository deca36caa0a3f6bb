"""Micro-batching without a server: who is joined with whom, and what one request can do to another."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.fastapi.batching import Arrays, Batcher, Counts

PATIENCE_S = 30.0
NEVER_S = 3600.0


class Doubling:
    """A model that doubles, refuses negative numbers, and can be held in its first call."""

    def __init__(self, *, held: bool = False) -> None:
        self.calls: list[list[int]] = []
        self.entered, self.go = threading.Event(), threading.Event()
        if not held:
            self.go.set()

    def __call__(self, inputs: Arrays) -> Arrays:
        self.calls.append(inputs[0].tolist())
        self.entered.set()
        assert self.go.wait(PATIENCE_S)
        if (inputs[0] < 0).any():
            raise ValueError("negative")
        return [inputs[0] * 2, inputs[0].astype("<f4")]


def rows(*values: int) -> Arrays:
    return [np.array(values, "<i8")]


def doubled(answer: Arrays) -> list[int]:
    whole, same = answer
    assert (whole == 2 * same).all()
    return list(whole)


Make = Callable[..., Batcher]


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Batcher(*args, **kwargs))


def held(make: Make, limit: int) -> tuple[Doubling, Batcher]:
    """A batcher whose only thread is busy with the request 0 until the model may go."""
    model = Doubling(held=True)
    batcher = make(model, limit)
    batcher.submit(rows(0))
    assert model.entered.wait(PATIENCE_S)
    return model, batcher


def test_by_default_nothing_is_joined(make: Make) -> None:
    model, batcher = held(make, 1)
    answers = [batcher.submit(rows(n, n)) for n in (1, 2, 3)]
    model.go.set()
    assert [doubled(answer.result(PATIENCE_S)) for answer in answers] == [[2, 2], [4, 4], [6, 6]]
    assert model.calls == [[0], [1, 1], [2, 2], [3, 3]]
    assert batcher.counts == Counts(requests=4, rows=7, executions=4)


def test_what_gathers_while_the_model_is_busy_runs_together(make: Make) -> None:
    model, batcher = held(make, 8)
    answers = [batcher.submit(rows(n)) for n in (1, 2, 3, 4, 5)]
    model.go.set()
    assert [doubled(answer.result(PATIENCE_S)) for answer in answers] == [[2], [4], [6], [8], [10]]
    assert model.calls == [[0], [1, 2, 3, 4, 5]]
    assert batcher.counts == Counts(requests=6, rows=6, executions=2)


def test_a_batch_stops_at_the_limit_and_keeps_the_order_of_arrival(make: Make) -> None:
    model, batcher = held(make, 4)
    answers = [batcher.submit(rows(*[n] * size)) for n, size in ((1, 3), (2, 2), (3, 1), (4, 9), (5, 1))]
    model.go.set()
    wait(answers, PATIENCE_S)
    assert model.calls == [[0], [1] * 3, [2, 2, 3], [4] * 9, [5]]


def test_a_request_that_does_not_fit_sends_the_others_off_at_once(make: Make) -> None:
    batcher = make(Doubling(), 8, NEVER_S)
    first, second = batcher.submit(rows(1, 1, 1)), batcher.submit(rows(2, 2, 2, 2, 2, 2))
    assert doubled(first.result(PATIENCE_S)) == [2, 2, 2]
    assert not second.done()
    third = batcher.submit(rows(3, 3))
    assert doubled(second.result(PATIENCE_S)) == [4] * 6
    assert doubled(third.result(PATIENCE_S)) == [6, 6]


def test_a_request_above_the_limit_is_never_split_and_never_waits(make: Make) -> None:
    model = Doubling()
    batcher = make(model, 4, NEVER_S)
    assert doubled(batcher.submit(rows(*range(10))).result(PATIENCE_S)) == list(range(0, 20, 2))
    assert model.calls == [list(range(10))]


def test_the_delay_ends_the_wait_for_company(make: Make) -> None:
    batcher = make(Doubling(), 8, 0.01)
    assert doubled(batcher.submit(rows(1)).result(PATIENCE_S)) == [2]


def test_only_the_request_at_fault_fails(make: Make) -> None:
    model, batcher = held(make, 8)
    good, bad, other = batcher.submit(rows(1)), batcher.submit(rows(2, -2)), batcher.submit(rows(3))
    model.go.set()
    assert doubled(good.result(PATIENCE_S)) == [2]
    assert doubled(other.result(PATIENCE_S)) == [6]
    with pytest.raises(ValueError, match="negative"):
        bad.result(PATIENCE_S)
    assert doubled(batcher.submit(rows(4)).result(PATIENCE_S)) == [8]


def test_a_model_that_loses_rows_fails_instead_of_mixing_answers(make: Make) -> None:
    batcher = make(lambda inputs: [inputs[0][:1]], 8)
    with pytest.raises(ValueError, match=r"\[1\] rows for 2"):
        batcher.submit(rows(1, 2)).result(PATIENCE_S)


def test_what_is_cancelled_while_it_waits_is_not_run(make: Make) -> None:
    model, batcher = held(make, 8)
    first, second, third = (batcher.submit(rows(n)) for n in (1, 2, 3))
    assert first.cancel()
    assert third.cancel()
    model.go.set()
    assert doubled(second.result(PATIENCE_S)) == [4]
    assert model.calls == [[0], [2]]


def test_a_cancelled_request_takes_no_room_in_a_batch_that_still_gathers(make: Make) -> None:
    model = Doubling()
    batcher = make(model, 2, NEVER_S)
    gone = batcher.submit(rows(1))
    assert gone.cancel()
    left, right = batcher.submit(rows(2)), batcher.submit(rows(3))
    wait([left, right], PATIENCE_S)
    assert model.calls == [[2, 3]]


def test_several_threads_run_several_batches_at_a_time(make: Make) -> None:
    both = threading.Barrier(2)
    began: list[str] = []

    def model(inputs: Arrays) -> Arrays:
        both.wait(PATIENCE_S)
        return inputs

    batcher = make(model, 2, NEVER_S, workers=2, begin=lambda: began.append(threading.current_thread().name))
    answers = [batcher.submit(rows(n)) for n in range(4)]
    assert [answer.result(PATIENCE_S)[0].tolist() for answer in answers] == [[0], [1], [2], [3]]
    assert sorted(began) == ["model-0", "model-1"]


def test_closing_cancels_what_waits() -> None:
    with Batcher(Doubling(), 8, NEVER_S) as batcher:
        waiting = batcher.submit(rows(1))
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE_S)
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(rows(2))


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30), limit=st.integers(1, 8), workers=st.integers(1, 3))
def test_everyone_gets_their_own_answer_and_no_batch_is_too_large(sizes: list[int], limit: int, workers: int) -> None:
    model = Doubling()
    with Batcher(model, limit, 0.0, workers) as batcher:
        answers = [batcher.submit(rows(*[n] * size)) for n, size in enumerate(sizes)]
        for n, (size, answer) in enumerate(zip(sizes, answers, strict=True)):
            assert doubled(answer.result(PATIENCE_S)) == [2 * n] * size
    assert all(len(call) <= limit or len(set(call)) == 1 for call in model.calls)
    assert all(call == sorted(call) for call in model.calls)
    assert sum(map(len, model.calls)) == sum(sizes) == batcher.counts.rows
    assert (batcher.counts.requests, batcher.counts.executions) == (len(sizes), len(model.calls))
