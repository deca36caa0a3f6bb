"""A run that its caller ends early: what was due is accounted for, what never was is not."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from loadgen.engine import measure
from loadgen.job import Job, JobResult
from loadgen.recorder import Recorder, Stop
from loadgen.schedule import reserve
from nightbench.load import Arrival, ClosedLoop, EndedBy, OpenLoop
from nightbench.samples import Outcome, Samples

from .conftest import HANG, right

JobMaker = Callable[..., Job]


def stopped(job: Job, cause: EndedBy, after: int = 20) -> tuple[JobResult, Samples, Stop]:
    """Measure, and ask for the end 0.3 s ahead once so many rows are sent."""
    (recorder,) = reserve(job)
    recorder.close()
    asked: list[Stop] = []

    def ask() -> None:
        while np.count_nonzero(recorder.array("sent_ns")[:after]) < after:
            time.sleep(0.001)
        asked.append(Stop(time.monotonic_ns() + 300_000_000, cause))
        recorder.ask_to_stop(asked[0])

    thread = threading.Thread(target=ask)
    thread.start()
    result = measure(job, recorder)
    thread.join()
    assert result.requests == len(recorder.samples()) == sum(result.outcomes.values())
    return result, recorder.samples(), asked[0]


@pytest.mark.parametrize("cause", [EndedBy.PRECISION, EndedBy.OVER_SATURATED])
@pytest.mark.parametrize("load", [ClosedLoop(2), OpenLoop(200.0, Arrival.CONSTANT)])
def test_sending_ends_at_the_stop_and_every_answer_is_awaited(
    serve, job: JobMaker, load: ClosedLoop | OpenLoop, cause: EndedBy
) -> None:
    result, samples, stop = stopped(job(serve().port, load=load, duration_s=60.0), cause)
    assert (result.ended_by, result.sending_ended_ns) == (cause, stop.at_ns)
    assert result.outcomes == {"ok": len(samples)}
    assert samples.intended_ns[-1] <= stop.at_ns
    if isinstance(load, OpenLoop):
        # Nothing due by then is missing: the next one would have been due 5 ms later.
        assert samples.intended_ns[-1] > stop.at_ns - 5_000_001


def test_a_hopeless_server_is_not_waited_for(serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.engine._MAX_CONNECTIONS", 5)
    server = serve(lambda _number, _body: HANG)
    load = OpenLoop(200.0, Arrival.CONSTANT)
    result, samples, stop = stopped(
        job(server.port, load=load, duration_s=60.0, timeout_s=300.0), EndedBy.OVER_SATURATED, after=5
    )
    assert result.ended_by is EndedBy.OVER_SATURATED
    assert result.outcomes == {"unfinished": len(samples)}
    # Due before the stop and never sent: they are what the backlog is made of.
    assert np.count_nonzero(samples.sent_ns) == 5
    assert len(samples) > 20
    assert stop.at_ns - 5_000_001 < samples.intended_ns[-1] <= stop.at_ns
    assert (samples.done_ns == result.ended_ns).all()


def test_what_was_due_before_a_stop_is_sent_after_it_if_it_had_to_wait(
    serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.engine._MAX_CONNECTIONS", 1)

    def slow(number: int, body: bytes) -> bytes | str:
        time.sleep(0.02)
        return right(number, body)

    load = OpenLoop(100.0, Arrival.CONSTANT)
    result, samples, stop = stopped(job(serve(slow).port, load=load, duration_s=60.0), EndedBy.PRECISION, after=3)
    assert result.outcomes == {"ok": len(samples)}
    assert samples.sent_ns[-1] > stop.at_ns >= samples.intended_ns[-1]


def test_a_stop_that_comes_when_all_is_sent_changes_nothing(serve, job: JobMaker) -> None:
    one = job(serve().port, load=OpenLoop(100.0, Arrival.CONSTANT), duration_s=0.2)
    (recorder,) = reserve(one)
    recorder.close()
    recorder.ask_to_stop(Stop(time.monotonic_ns() + 10**12, EndedBy.PRECISION))
    result = measure(one, recorder)
    assert (result.ended_by, result.requests) == (EndedBy.DURATION, 20)
    assert result.sending_ended_ns == result.started_ns + 200_000_000


def test_requests_and_duration_are_told_apart(serve, job: JobMaker) -> None:
    server = serve()
    for load in (ClosedLoop(2), OpenLoop(500.0)):
        counted, timed = (
            job(server.port, load=load, duration_s=30.0, max_requests=4),
            job(server.port, load=load, duration_s=0.05),
        )
        assert run_here(counted).ended_by is EndedBy.REQUESTS
        assert run_here(timed).ended_by is EndedBy.DURATION


def test_a_closed_loop_that_runs_out_of_rows_says_so(serve, job: JobMaker) -> None:
    recorder = Recorder.create(10)
    recorder.close()
    result = measure(job(serve().port, load=ClosedLoop(3), duration_s=30.0), recorder)
    assert (result.ended_by, result.outcomes) == (EndedBy.ROWS, {"ok": 10})


def run_here(job: Job) -> JobResult:
    (recorder,) = reserve(replace(job, workers=1))
    recorder.close()
    return measure(job, recorder)


def test_outcomes_are_never_pending(serve, job: JobMaker) -> None:
    result, samples, _ = stopped(job(serve().port, load=OpenLoop(300.0), duration_s=60.0), EndedBy.PRECISION)
    assert (samples.done_ns > 0).all()
    assert {Outcome(code) for code in samples.outcome} == {Outcome.OK}
    assert result.ended_ns >= samples.done_ns.max()
