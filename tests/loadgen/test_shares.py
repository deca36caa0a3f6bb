"""One job over several engines: nothing is lost, doubled or bunched."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.arrivals import offsets_ns
from loadgen.job import Job, JobResult, Pacing
from loadgen.schedule import reserve
from loadgen.shares import check_workers, combined, dealt, split
from nightbench.errors import UsageError
from nightbench.load import Arrival, ClosedLoop, EndedBy, OpenLoop
from nightbench.server import Endpoint, Protocol

JobMaker = Callable[..., Job]
quick = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(
    workers=st.integers(1, 9),
    arrival=st.sampled_from([Arrival.POISSON, Arrival.CONSTANT]),
    seed=st.integers(0, 99),
    most=st.none() | st.integers(0, 40),
)
def test_the_dealt_schedules_are_the_one_schedule(
    job: JobMaker, workers: int, arrival: Arrival, seed: int, most: int | None
) -> None:
    load = OpenLoop(200.0, arrival)
    whole = offsets_ns(load, 0.2, seed)[:most]
    recorders = reserve(job(1, load=load, workers=workers, seed=seed, max_requests=most, duration_s=0.2))
    dealt_ns = [recorder.samples().intended_ns.tolist() for recorder in recorders]
    for recorder in recorders:
        recorder.close()
    assert [(recorder.share, recorder.shares) for recorder in recorders] == [(n, workers) for n in range(workers)]
    assert sorted(time for share in dealt_ns for time in share) == whole.tolist()
    assert max(map(len, dealt_ns)) - min(map(len, dealt_ns)) <= 1
    assert all(time in whole[share::workers] for share, times in enumerate(dealt_ns) for time in times)


@quick
@given(concurrency=st.integers(1, 60), data=st.data())
def test_a_closed_loop_is_shared_as_evenly_as_can_be(job: JobMaker, concurrency: int, data: st.DataObject) -> None:
    workers = data.draw(st.integers(1, concurrency))
    most = data.draw(st.none() | st.integers(0, 500))
    whole = job(1, load=ClosedLoop(concurrency), workers=workers, max_requests=most)
    check_workers(whole)
    parts = split(whole, [0] * workers)
    shared = [part.load.concurrency for part in parts if isinstance(part.load, ClosedLoop)]
    assert sum(shared) == concurrency
    assert max(shared) - min(shared) <= 1
    if most is not None:
        assert sum(part.max_requests or 0 for part in parts) == most
    assert {part.workers for part in parts} == {1}


@given(st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True), st.integers(1, 8), st.integers(1, 60))
def test_inputs_rotate_as_they_do_with_one_worker(rotation: list[int], workers: int, rows: int) -> None:
    hands = [dealt(rotation, share, workers) for share in range(workers)]
    for row in range(rows):
        hand = hands[row % workers]
        assert hand[(row // workers) % len(hand)] == rotation[row % len(rotation)]
    assert all(len(set(hand)) == len(hand) for hand in hands)


def test_each_worker_has_a_processor_and_waits_as_was_decided_for_all(job: JobMaker, monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    load = OpenLoop(10.0)
    parts = split(job(1, load=load, workers=2, cpus=(1, 3)), [1, 1])
    assert [(part.cpus, part.pacing) for part in parts] == [((1,), Pacing.SPIN), ((3,), Pacing.SPIN)]
    crowded = split(job(1, load=load, workers=3, cpus=(1, 3)), [1, 1, 1])
    assert [(part.cpus, part.pacing) for part in crowded] == [((n,), Pacing.SLEEP) for n in (1, 3, 1)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"workers": 0}, "workers: 0 processes"),
        ({"workers": 3, "load": ClosedLoop(2)}, "workers: 3 processes cannot share a concurrency of 2; give at most 2"),
        ({"workers": 2, "endpoint": Endpoint(Protocol.IN_PROCESS)}, "workers: an in-process model"),
    ],
)
def test_what_cannot_be_shared_is_refused_in_a_sentence(job: JobMaker, fields: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_workers(job(1, **fields))


def test_results_add_up_and_the_worst_hiccup_is_told() -> None:
    one = JobResult(
        3, 10, 90, 5, 1, 0, {"ok": 3}, ended_by=EndedBy.REQUESTS, sending_ended_ns=50, workers_cpu_ns=(5,),
        hiccups_ns={"p99": 1, "max": 9},
    )  # fmt: skip
    two = JobResult(
        4, 12, 80, 6, 1, 1, {"ok": 2, "reset": 2}, "reset: gone", spin_ns=7, sending_ended_ns=60, workers_cpu_ns=(6,),
        hiccups_ns={"p99": 4, "max": 8}, connections_short=True,
    )  # fmt: skip
    assert combined([one, two]) == JobResult(
        7, 10, 90, 11, 2, 1, {"ok": 5, "reset": 2}, "reset: gone", spin_ns=7, ended_by=EndedBy.REQUESTS,
        sending_ended_ns=50, workers_cpu_ns=(5, 6), hiccups_ns={"p99": 4, "max": 9}, connections_short=True,
    )  # fmt: skip
    failed = JobResult.failed("no")
    assert combined([one, failed]) is failed


def test_a_share_without_anything_to_send_ended_nothing() -> None:
    idle = JobResult(0, 10, 90, 5, 0, 0, {}, ended_by=EndedBy.REQUESTS, sending_ended_ns=10)
    busy = JobResult(1, 10, 90, 5, 0, 0, {"ok": 1}, ended_by=EndedBy.REQUESTS, sending_ended_ns=40)
    assert combined([busy, idle]).sending_ended_ns == 40
    assert combined([idle, idle]).sending_ended_ns == 10


@pytest.mark.parametrize("cause", [EndedBy.ROWS, EndedBy.OVER_SATURATED, EndedBy.PRECISION])
def test_one_share_that_was_stopped_tells_what_ended_the_whole(cause: EndedBy) -> None:
    done = JobResult(1, 1, 2, 1, 0, 0, {}, ended_by=EndedBy.REQUESTS)
    stopped = JobResult(1, 1, 2, 1, 0, 0, {}, ended_by=cause)
    assert combined([done, stopped]).ended_by is cause


def test_the_sum_of_many_shares_is_in_order_of_time(job: JobMaker) -> None:
    recorders = reserve(job(1, load=OpenLoop(500.0), workers=3, duration_s=1.0))
    for recorder in recorders:
        assert (np.diff(recorder.samples().intended_ns) >= 0).all()
        recorder.close()
