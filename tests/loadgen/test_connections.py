"""How many connections an open loop may open, and whose fault it is when there are no more."""

import socket
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from loadgen.engine import run
from loadgen.job import Job
from loadgen.run import run_job
from nightbench.load import Arrival, ClosedLoop, EndedBy, OpenLoop
from nightbench.precision import Precision
from nightbench.samples import Samples
from nightbench.server import Endpoint, Protocol

from .conftest import right

JobMaker = Callable[..., Job]


def with_few_files(port: int) -> Endpoint:
    """An engine that may have 80 files open: 64 of its own, and 16 connections."""
    command = ("sh", "-c", 'ulimit -n 80; exec "$@"', "sh", sys.executable)
    return Endpoint(Protocol.RAW_HTTP, "127.0.0.1", port, "m", command=command)


def slow(number: int, body: bytes) -> bytes | str:
    """As many at once as there are connections."""
    time.sleep(0.2)
    return right(number, body)


def test_a_slow_server_gets_every_request_when_it_is_due(job: JobMaker) -> None:
    """The kernel takes the connections of a server that answers none: 700 requests wait at once."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        result = run(job(port, load=OpenLoop(2000.0, Arrival.CONSTANT), duration_s=0.35, timeout_s=1.5))
    samples = Samples.load(job(1).samples)
    assert set(result.outcomes) <= {"timeout", "unfinished"}
    assert np.count_nonzero(samples.sent_ns) == len(samples) == 700
    assert not result.connections_short


def test_a_client_without_connections_does_not_call_the_server_over_saturated(
    serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightbench.saturation._LEAST_S", 1.0)
    load = OpenLoop(150.0, Arrival.CONSTANT)
    server = serve(slow)
    result = run_job(job(server.port, load=load, duration_s=2.5, endpoint=with_few_files(server.port)))
    assert (result.error, result.ended_by, result.why) == (None, EndedBy.DURATION, "")
    assert result.connections_short
    assert server.connections == 16


def test_a_closed_loop_larger_than_the_limit_of_files_is_one_sentence(serve, job: JobMaker) -> None:
    server = serve()
    result = run_job(job(server.port, load=ClosedLoop(17), endpoint=with_few_files(server.port)))
    assert result.error == (
        "concurrency: 17 connections in one process are more than its limit of open files leaves, 16; raise the limit "
        "(ulimit -n), or give more workers"
    )


def test_a_hopeless_load_ends_early_by_the_rule_itself(serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time and fifty a second, of three times as many. The rule's ten seconds are one here."""
    monkeypatch.setattr("nightbench.saturation._LEAST_S", 1.0)
    alone = threading.Lock()

    def behave(number: int, body: bytes) -> bytes | str:
        with alone:
            time.sleep(0.02)
        return right(number, body)

    load = OpenLoop(150.0, Arrival.CONSTANT)
    result = run_job(job(serve(behave).port, load=load, duration_s=60.0, timeout_s=60.0))
    assert (result.error, result.ended_by, result.connections_short) == (None, EndedBy.OVER_SATURATED, False)
    assert "requests were waiting, and ever more" in result.why
    assert result.sending_ended_ns < result.started_ns + 60e9
    assert set(result.outcomes) == {"ok", "unfinished"}


def test_a_precise_run_ends_early_by_the_rule_itself(serve, job: JobMaker) -> None:
    asked = Precision(p50=0.5, p99=None)
    result = run_job(job(serve().port, load=ClosedLoop(2), duration_s=60.0, precision=asked, min_warmup_s=0.1))
    assert (result.error, result.ended_by) == (None, EndedBy.PRECISION)
    assert result.sending_ended_ns < result.started_ns + 60e9
