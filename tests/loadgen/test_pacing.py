"""Waiting for a moment: nothing comes early, nothing that arrives is missed, and the cost is told apart."""

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from loadgen.clock import Poller, now_ns
from loadgen.engine import run
from loadgen.job import Job, Pacing
from loadgen.pacing import Pacer, Sleeper, Spinner, pacer_for
from nightbench.load import OpenLoop
from nightbench.samples import Samples

JobMaker = Callable[..., Job]


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


@pytest.mark.parametrize("kind", [Sleeper, Spinner])
@pytest.mark.parametrize("wait_ns", [-1_000_000, 50_000, 2_000_000])
def test_a_wait_ends_empty_and_never_early(poller: Poller, kind: type[Pacer], wait_ns: int) -> None:
    deadline = now_ns() + wait_ns
    assert kind(poller).wait_until(deadline) == []  # type: ignore[call-arg]  # both kinds take the poller
    assert now_ns() >= deadline


@pytest.mark.parametrize("kind", [Sleeper, Spinner])
@pytest.mark.parametrize("wait_ns", [-1, 50_000, 20 * 10**9])
def test_what_is_ready_ends_the_wait(poller: Poller, kind: type[Pacer], wait_ns: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller.epoll.register(ours.fileno(), 1)
        theirs.send(b"x")
        events = kind(poller).wait_until(now_ns() + wait_ns)  # type: ignore[call-arg]  # as above
        assert events == [(ours.fileno(), 1)]


def test_only_waiting_is_spinning(poller: Poller) -> None:
    spinner = Spinner(poller)
    began = now_ns()
    spinner.wait_until(began + 1_000_000)
    assert 0 < spinner.spun_ns <= now_ns() - began
    assert set(spinner.hiccups_ns()) == {"p99", "p999", "max"}
    assert Sleeper(poller).hiccups_ns() == {}


def test_a_processor_of_its_own_is_spun_on_unless_asked_otherwise(
    poller: Poller, job: JobMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert isinstance(pacer_for(job(1), poller), Sleeper)
    assert isinstance(pacer_for(job(1, cpus=(1,)), poller), Spinner)
    assert isinstance(pacer_for(job(1, cpus=(0, 1)), poller), Sleeper)
    assert isinstance(pacer_for(job(1, cpus=(1,), pacing=Pacing.SLEEP), poller), Sleeper)
    assert isinstance(pacer_for(job(1, pacing=Pacing.SPIN), poller), Spinner)


def test_spinning_sends_every_arrival_and_is_no_cost_of_the_client(serve, job: JobMaker) -> None:
    spinning = job(serve().port, load=OpenLoop(200.0), pacing=Pacing.SPIN)
    result = run(spinning)
    samples = Samples.load(spinning.samples)
    assert result.outcomes == {"ok": len(samples)}
    assert (samples.lag_ns >= 0).all()
    assert result.spin_ns > 0
    assert result.client_cpu_ns > 0
