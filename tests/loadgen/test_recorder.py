"""The rows that an engine and its caller share."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.recorder import Phase, Recorder, Stop
from nightbench.load import EndedBy
from nightbench.samples import Outcome


@pytest.fixture
def recorder() -> Recorder:
    return Recorder.create(100, 5000)


def test_what_one_process_writes_the_other_sees(recorder: Recorder) -> None:
    child = os.fork()
    if not child:
        engine = Recorder(recorder.fd)
        row = engine.take(7)
        engine.sent_ns[row], engine.outcome[row], engine.done_ns[row] = 8, Outcome.RESET, 9
        engine.phase = Phase.OVER
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    samples = recorder.samples()
    assert (samples.intended_ns.tolist(), samples.sent_ns.tolist(), samples.done_ns.tolist()) == ([7], [8], [9])
    assert samples.outcome.tolist() == [Outcome.RESET]
    assert recorder.phase is Phase.OVER


def test_the_rows_outlive_their_descriptor(recorder: Recorder) -> None:
    recorder.close()
    recorder.close()
    recorder.take(5)
    assert recorder.samples().intended_ns.tolist() == [5]


def test_reserving_millions_of_rows_takes_no_memory() -> None:
    large = Recorder.create(50_000_000, 20_000_000)
    large.take(1)
    assert os.fstat(large.fd).st_blocks * 512 < 2**20
    large.close()


def test_rows_without_outcome_are_settled_as_unfinished(recorder: Recorder) -> None:
    for time in (10, 20, 30):
        recorder.take(time)
    recorder.outcome[1], recorder.done_ns[1] = Outcome.OK, 25
    samples = recorder.settle(99)
    assert samples.outcome.tolist() == [Outcome.UNFINISHED, Outcome.OK, Outcome.UNFINISHED]
    assert samples.done_ns.tolist() == [99, 25, 99]


def test_a_schedule_becomes_due_when_the_run_begins(recorder: Recorder) -> None:
    recorder.schedule(np.array([0, 5, 9]))
    recorder.begin(1000)
    assert recorder.samples().intended_ns.tolist() == [1000, 1005, 1009]
    assert (recorder.phase, recorder.started_ns) == (Phase.RUNNING, 1000)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(0, 60), st.integers(0, 40))
def test_a_cut_forgets_what_is_due_later_and_nothing_that_was_sent(times: list[int], at: int, sent: int) -> None:
    recorder = Recorder.create(40)
    recorder.schedule(np.array(sorted(times), np.int64))
    sent = min(sent, len(times))
    assert recorder.cut(at, sent) == recorder.rows == len(recorder.samples())
    kept = recorder.samples().intended_ns.tolist()
    assert kept == sorted(times)[: max(sent, sum(time <= at for time in times))]


def test_what_a_killed_engine_left_is_settled_as_far_as_it_came(recorder: Recorder) -> None:
    recorder.schedule(np.array([0, 10, 20]))
    recorder.begin(1000)
    recorder.outcome[0], recorder.done_ns[0] = Outcome.OK, 1004
    samples = Recorder(recorder.fd).salvage(1015)
    assert samples.intended_ns.tolist() == [1000, 1010]
    assert samples.outcome.tolist() == [Outcome.OK, Outcome.UNFINISHED]


@pytest.mark.parametrize("cause", list(EndedBy))
def test_the_first_stop_counts(recorder: Recorder, cause: EndedBy) -> None:
    assert recorder.stop is None
    recorder.ask_to_stop(Stop(5, cause))
    recorder.ask_to_stop(Stop(6, EndedBy.DURATION))
    assert Recorder(recorder.fd).stop == Stop(5, cause)


def test_marks_that_run_out_ask_for_the_end_before_they_are_lost(recorder: Recorder) -> None:
    recorder.streams()
    row = recorder.take(1)
    asked = None
    for time in range(1, 6000):
        recorder.mark(row, time, 2)
        asked = asked or (recorder.stop and time)
    assert recorder.stop == Stop(asked, EndedBy.ROWS)
    assert asked is not None
    marks = recorder.marks()
    assert marks is not None
    assert asked < len(marks.at_ns) == 5000
    assert marks.at_ns.tolist() == list(range(1, 5001))
    assert (set(marks.parts.tolist()), marks.tokens.tolist()) == ({2}, [-1])


def test_there_are_no_marks_where_nothing_streams(recorder: Recorder) -> None:
    assert recorder.marks() is None
