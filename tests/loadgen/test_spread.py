"""One load from several machines: together they send what one would have, and nothing of it is lost or blurred."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.arrivals import offsets_ns
from loadgen.job import Job, JobResult
from loadgen.run import run_job
from loadgen.schedule import reserve
from loadgen.spread import Sent, parts_of, put_together
from nightbench.errors import UsageError
from nightbench.histogram import LatencyHistogram
from nightbench.load import Arrival, ClosedLoop, EndedBy, OpenLoop
from nightbench.precision import Precision
from nightbench.samples import Marks, Outcome, Samples

JobMaker = Callable[..., Job]


def carry_out(whole: Job, machines: int, folder: Path) -> list[Sent]:
    """Each part at once, as its machine would. A busy machine takes its time to get ready."""
    for lead_s in (2, 8, 30):
        sent = attempt(parts_of(whole, machines, time.time_ns() + lead_s * 1_000_000_000), folder)
        if all(each.result.error is None for each in sent):
            break
    return sent


def attempt(parts: Sequence[Job], folder: Path) -> list[Sent]:
    def one(part: Job) -> Sent:
        assert part.part is not None
        own = replace(part, samples=folder / f"{part.part.machine}.npz")
        result = run_job(own)
        if result.error is not None:
            return Sent(result, Samples.empty())
        return Sent(result, Samples.load(own.samples), Marks.load(own.samples))

    with ThreadPoolExecutor(len(parts)) as machines:
        return list(machines.map(one, parts))


def test_machines_send_the_one_schedule_and_are_one_result(serve, job: JobMaker, tmp_path: Path) -> None:
    server = serve()
    load = OpenLoop(200.0)
    whole = job(server.port, load=load, duration_s=0.5, seed=4, workers=2)
    sent = carry_out(whole, 2, tmp_path)
    result = put_together(sent, whole.samples)
    samples = Samples.load(whole.samples)
    assert result.error is None
    assert (samples.intended_ns - result.started_ns).tolist() == offsets_ns(load, 0.5, 4).tolist()
    assert result.requests == len(samples) == len(server.bodies)
    assert samples.counts() == result.outcomes == {"ok": len(samples)}
    assert len(result.workers_cpu_ns) == 4
    # What each saw, merged, is what the whole holds: to the last bucket.
    merged = LatencyHistogram.merge([LatencyHistogram.from_ns(each.samples.latency_ns) for each in sent])
    assert LatencyHistogram.from_ns(samples.latency_ns).encode() == merged.encode()


def test_a_closed_loop_is_shared_among_machines(serve, job: JobMaker, tmp_path: Path) -> None:
    server = serve()
    whole = job(server.port, load=ClosedLoop(5), duration_s=0.3)
    sent = carry_out(whole, 3, tmp_path)
    result = put_together(sent, whole.samples)
    assert result.ended_by is EndedBy.DURATION
    assert result.requests == len(Samples.load(whole.samples)) == len(server.bodies)
    assert server.connections == 5


def test_who_comes_too_late_says_so_and_sends_nothing(serve, job: JobMaker, tmp_path: Path) -> None:
    server = serve()
    (late, _) = parts_of(job(server.port, load=OpenLoop(50.0)), 2, time.time_ns() - 1_000_000_000)
    result = run_job(late)
    assert result.error is not None
    assert "too late to begin with the other machines" in result.error
    assert server.bodies == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    machines=st.integers(1, 5),
    workers=st.integers(1, 3),
    arrival=st.sampled_from([Arrival.POISSON, Arrival.CONSTANT]),
    seed=st.integers(0, 99),
)
def test_no_arrival_is_lost_or_doubled(job: JobMaker, machines: int, workers: int, arrival: Arrival, seed: int) -> None:
    load = OpenLoop(200.0, arrival)
    whole = job(1, load=load, workers=workers, seed=seed, duration_s=0.2)
    times: list[int] = []
    for part in parts_of(whole, machines, 0):
        for recorder in reserve(part):
            times += recorder.samples().intended_ns.tolist()
            recorder.close()
    assert sorted(times) == offsets_ns(load, 0.2, seed).tolist()


@given(st.lists(st.tuples(st.integers(1, 10**15), st.integers(0, 30)), min_size=1, max_size=4))
def test_clocks_that_know_nothing_of_each_other_change_no_latency(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[int, int]]
) -> None:
    random = np.random.default_rng(1)
    sent = [made(random, zero_ns, rows) for zero_ns, rows in parts]
    path = tmp_path_factory.mktemp("spread") / "whole.npz"
    result = put_together(sent, path)
    whole = Samples.load(path)
    for name in ("latency_ns", "service_ns", "lag_ns"):
        alone = np.concatenate([getattr(each.samples.where(each.samples.sent_ns > 0), name) for each in sent])
        assert sorted(getattr(whole.where(whole.sent_ns > 0), name)) == sorted(alone)
    assert (whole.sent_ns == 0).sum() == sum((each.samples.sent_ns == 0).sum() for each in sent)
    assert result.requests == len(whole) == sum(rows for _, rows in parts)
    assert (np.diff(whole.intended_ns) >= 0).all()
    assert result.sending_ended_ns - result.started_ns == 1000


def made(random: np.random.Generator, zero_ns: int, rows: int) -> Sent:
    intended = np.sort(random.integers(0, 1000, rows)) + zero_ns
    sent_ns = intended + random.integers(0, 9, rows)
    sent_ns[random.random(rows) < 0.2] = 0
    done = intended + random.integers(9, 99, rows)
    outcome = np.where(sent_ns == 0, Outcome.UNFINISHED, Outcome.OK).astype(np.uint8)
    samples = Samples(intended, sent_ns, np.where(sent_ns, done - 1, 0), done, outcome, np.ones(rows, np.int64))
    ends = {"started_ns": zero_ns, "ended_ns": zero_ns + 1200, "sending_ended_ns": zero_ns + 1000}
    return Sent(replace(JobResult.failed(""), error=None, requests=rows, **ends), samples)


def test_how_wrong_clocks_may_be_is_the_sum_of_the_worst_two(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    sent = [made(random, 5, 3) for _ in range(3)]
    errors = (20, 500, 300)
    known = [replace(each, result=replace(each.result, wall_error_ns=e)) for each, e in zip(sent, errors, strict=True)]
    assert put_together(known, tmp_path / "known.npz").wall_error_ns == 800
    assert put_together([*known[1:], sent[0]], tmp_path / "unknown.npz").wall_error_ns is None


def test_a_part_that_failed_is_the_result(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    failed = Sent(JobResult.failed("no server"), made(random, 5, 0).samples)
    assert put_together([made(random, 5, 3), failed], tmp_path / "whole.npz").error == "no server"


@pytest.mark.parametrize(
    ("fields", "machines", "words"),
    [
        ({}, 0, "machines: 0 cannot send anything"),
        ({"load": ClosedLoop(3), "workers": 2}, 2, "4 processes cannot share a concurrency of 3"),
        ({"max_requests": 9}, 2, "ends by time alone"),
        ({"precision": Precision(0.1, None)}, 2, "ends by time alone"),
    ],
)
def test_what_cannot_be_shared_is_a_sentence(
    job: JobMaker, fields: dict[str, object], machines: int, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        parts_of(job(1, **fields), machines, 0)
