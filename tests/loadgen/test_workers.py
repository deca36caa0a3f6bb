"""Several engines as one: together they send what one would have sent."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.arrivals import offsets_ns
from loadgen.engine import measure
from loadgen.glimpse import Glimpse
from loadgen.job import Job
from loadgen.run import run_job
from loadgen.schedule import reserve
from loadgen.shares import split
from nightbench.load import Arrival, ClosedLoop, EndedBy, OpenLoop
from nightbench.precision import Precision
from nightbench.samples import Outcome, Samples
from nightbench.server import Endpoint, Protocol

from .conftest import HANG, RESET, http, right
from .test_run import engines, wait_for_engine

JobMaker = Callable[..., Job]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_send_the_one_schedule_and_every_arrival_ends_once(serve, job: JobMaker, workers: int) -> None:
    def behave(number: int, body: bytes) -> bytes | str:
        return {5: RESET, 9: http(b"", "503 Busy"), 12: HANG}.get(number, right(number, body))

    server = serve(behave)
    load = OpenLoop(300.0)
    whole = job(server.port, load=load, duration_s=0.3, timeout_s=0.5, seed=4, workers=workers, verify_every=1)
    result = run_job(whole)
    samples = Samples.load(whole.samples)
    assert result.error is None
    assert (samples.intended_ns - result.started_ns).tolist() == offsets_ns(load, 0.3, 4).tolist()
    assert result.requests == len(samples) == len(server.bodies) == sum(result.outcomes.values())
    assert result.outcomes == samples.counts() == {"ok": len(samples) - 3, "reset": 1, "http_503": 1, "timeout": 1}
    assert (samples.sent_ns >= samples.intended_ns).all()
    assert (result.verified, result.wrong) == (len(samples) - 3, 0)
    assert len(result.workers_cpu_ns) == workers
    assert sum(result.workers_cpu_ns) == result.client_cpu_ns
    assert result.ended_by is EndedBy.DURATION
    # The inputs come as evenly as from one worker.
    counts = Counter(server.bodies).values()
    assert len(counts) == 5
    assert max(counts) - min(counts) <= 1


FAULTS = st.sampled_from(["right", "stall", RESET, HANG, "503", "half"])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    workers=st.integers(1, 4),
    faults=st.lists(FAULTS, min_size=1, max_size=8),
    rate=st.sampled_from([40.0, 300.0]),
    seed=st.integers(0, 1000),
)
def test_with_any_workers_every_scheduled_arrival_ends_exactly_once(
    serve, job: JobMaker, workers: int, faults: list[str], rate: float, seed: int
) -> None:
    def behave(number: int, body: bytes) -> bytes | str:
        match faults[number % len(faults)]:
            case "stall":
                time.sleep(0.03)
            case "503":
                return http(b"", "503 Service Unavailable")
            case "half":
                return b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n123"
            case "reset" | "hang" as name:
                return name
        return right(number, body)

    load = OpenLoop(rate)
    server = serve(behave)
    whole = job(server.port, load=load, workers=workers, duration_s=0.1, timeout_s=0.06, seed=seed, verify_every=1)
    recorders = reserve(whole)
    offsets: list[int] = []
    # One after the other, as if each had been told the same start.
    for part, recorder in zip(split(whole, [share.rows for share in recorders]), recorders, strict=True):
        recorder.close()
        recorder.agreed_start_ns = time.monotonic_ns() + 5_000_000
        result = measure(part, recorder)
        samples = recorder.samples()
        offsets += (samples.intended_ns - result.started_ns).tolist()
        assert result.requests == len(samples) == sum(result.outcomes.values())
        assert {Outcome(code) for code in samples.outcome} <= set(Outcome)
        assert result.wrong == 0
    assert sorted(offsets) == offsets_ns(load, 0.1, seed).tolist()
    assert len(server.bodies) <= len(offsets)


def test_workers_share_concurrency_and_the_number_of_requests(serve, job: JobMaker) -> None:
    server = serve()
    whole = job(server.port, load=ClosedLoop(5), workers=2, max_requests=31)
    result = run_job(whole)
    assert (result.error, result.outcomes, result.ended_by) == (None, {"ok": 31}, EndedBy.REQUESTS)
    assert server.connections == 5
    samples = Samples.load(whole.samples)
    assert (np.diff(samples.intended_ns) >= 0).all()
    assert samples.intended_ns[0] >= result.started_ns


def test_the_first_share_that_has_sent_its_part_ends_the_sending_of_all(serve, job: JobMaker) -> None:
    """One of the two connections is fifty times as slow: alone it would go on for five seconds."""
    first: list[int] = []

    def behave(number: int, body: bytes) -> bytes | str:
        first.append(threading.get_ident())
        time.sleep(0.001 if threading.get_ident() == first[0] else 0.05)
        return right(number, body)

    whole = job(serve(behave).port, load=ClosedLoop(2), workers=2, max_requests=200)
    result = run_job(whole)
    samples = Samples.load(whole.samples)
    assert (result.error, result.ended_by) == (None, EndedBy.REQUESTS)
    assert result.outcomes == {"ok": len(samples)}
    assert 100 < len(samples) < 200
    assert 100 <= len(samples.between(0, result.sending_ended_ns + 1)) <= len(samples)


def test_one_failing_worker_fails_the_whole_and_ends_the_others(serve, job: JobMaker) -> None:
    pids: list[int] = []
    whole = job(serve().port, load=ClosedLoop(2), workers=2, duration_s=60.0, cpus=(min(os.sched_getaffinity(0)), 9999))
    result = run_job(whole, env={"TEST_LABEL": "one-fails"}, on_start=pids.append)
    assert result.error is not None
    assert result.error.startswith("OSError: ")
    assert len(pids) == 2
    assert not engines("one-fails")


def test_more_workers_than_can_be_shared_are_refused_before_anything_starts(job: JobMaker) -> None:
    pids: list[int] = []
    result = run_job(job(1, load=ClosedLoop(2), workers=3), on_start=pids.append)
    assert result.error == "workers: 3 processes cannot share a concurrency of 2; give at most 2"
    hosted = run_job(job(1, endpoint=Endpoint(Protocol.IN_PROCESS), workers=2), on_start=pids.append)
    assert hosted.error is not None
    assert hosted.error.startswith("workers: an in-process model")
    assert pids == []


def test_what_a_killed_engine_measured_is_not_lost(serve, job: JobMaker) -> None:
    server = serve()
    label = "killed-late"

    def kill(_: Glimpse) -> None:
        if len(server.bodies) > 20:
            wait_for_engine(label).kill()

    whole = job(server.port, load=OpenLoop(100.0, Arrival.CONSTANT), duration_s=60.0)
    result = run_job(whole, env={"TEST_LABEL": label}, watch=kill)
    assert result.error == "the load engine was killed by SIGKILL"
    assert result.requests == 0
    samples = Samples.load(whole.samples)
    assert 20 < len(samples) < 6000
    assert np.count_nonzero(samples.ok) > 20
    assert set(samples.counts()) <= {"ok", "unfinished"}


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_waits_sees_the_run_go_on(serve, job: JobMaker, workers: int) -> None:
    seen: list[Glimpse] = []
    whole = job(serve().port, load=OpenLoop(100.0, Arrival.CONSTANT), duration_s=1.0, workers=workers)
    result = run_job(whole, watch=seen.append)
    assert result.outcomes == {"ok": 100}
    assert len(seen) >= 2
    assert [view.answered for view in seen] == sorted(view.answered for view in seen)
    assert 0 < seen[-1].ok <= 100
    assert seen[-1].recent_p50_ns is not None
    assert seen[-1].elapsed_s > seen[0].elapsed_s


def test_a_run_ends_when_it_is_precise_enough(serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.looks.reached", lambda latency_ns, before_ns, _: len(latency_ns) > len(before_ns) > 0)
    whole = job(serve().port, load=ClosedLoop(2), duration_s=60.0, precision=Precision(), min_warmup_s=0.1, workers=2)
    result = run_job(whole)
    assert (result.error, result.ended_by) == (None, EndedBy.PRECISION)
    assert result.sending_ended_ns - result.started_ns < 30e9
    samples = Samples.load(whole.samples)
    assert result.outcomes == {"ok": len(samples)}


def test_a_hopeless_run_ends_with_its_reason(serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.looks.over_saturated", lambda *_: "the backlog only grows")
    whole = job(serve(lambda _n, _b: HANG).port, load=OpenLoop(50.0), duration_s=60.0, timeout_s=60.0)
    result = run_job(whole)
    assert (result.error, result.ended_by) == (None, EndedBy.OVER_SATURATED)
    assert (result.why, result.detail) == ("the backlog only grows", "")
    assert set(Samples.load(whole.samples).outcome.tolist()) == {Outcome.UNFINISHED}


def test_a_trace_that_cannot_be_read_is_a_result(job: JobMaker, tmp_path: Path) -> None:
    from loadgen.trace import trace_of

    path = tmp_path / "trace"
    path.write_text("0\n1\n")
    load = OpenLoop(5.0, Arrival.TRACE, trace=trace_of(path))
    path.unlink()
    result = run_job(job(1, load=load))
    assert result.error is not None
    assert result.error.startswith(f"trace {path}: cannot be read")
