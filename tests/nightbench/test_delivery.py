"""Throughput of exact servers, whose latency is not small against the run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.delivery import Delivery, delivery
from nightbench.figures import Reason
from nightbench.load import Arrival, ClosedLoop, OpenLoop, Step
from nightbench.samples import Outcome, Samples

SECOND = 1_000_000_000
MS = 1_000_000
START = 7 * SECOND


def _samples(sent: np.ndarray, latency: np.ndarray | int, outcome: int = Outcome.OK) -> Samples:
    done = sent + latency
    return Samples(sent, sent, done, done, np.full(len(sent), outcome, np.uint8), np.zeros(len(sent), np.int64))


def _lockstep(clients: int, requests: int, latency_ns: int = 200 * MS, jitter_ns: int = 0) -> Samples:
    """Clients whose requests are all answered ``latency_ns`` after they were sent, ``jitter_ns`` apart."""
    number = np.arange(requests)
    return _samples(START + number // clients * latency_ns + number % clients * jitter_ns, latency_ns)


def _delivered(samples: Samples, load: Step, start_s: float, end_s: float) -> Delivery:
    return delivery(samples, load, START, START + round(start_s * SECOND), START + round(end_s * SECOND))


@pytest.mark.parametrize("jitter_ns", [0, 100_000])
@pytest.mark.parametrize("requests", [100, 120, 150, 500])
def test_a_closed_loop_that_ended_by_requests(requests: int, jitter_ns: int) -> None:
    """50 clients of a server that takes 0.2 s get 250 answers a second, without a warm-up too."""
    samples = _lockstep(50, requests, jitter_ns=jitter_ns)
    found = _delivered(samples, ClosedLoop(50), 0.0, float(samples.sent_ns[-1] + 1 - START) / SECOND)
    assert found.rate.value == pytest.approx(250.0)
    assert found.short == ""


@pytest.mark.parametrize(("requests", "rate"), [(50, 250.0), (20, 100.0)])
def test_a_closed_loop_that_was_over_with_its_first_round(requests: int, rate: float) -> None:
    found = _delivered(_lockstep(50, requests), ClosedLoop(50), 0.0, 1e-9)
    assert found.rate.value == pytest.approx(rate)
    assert found.rate.low is None
    (doubt,) = found.doubts()
    assert doubt.reason is Reason.TOO_FEW_SAMPLES
    assert doubt.figures == ("throughput_rps",)


@pytest.mark.parametrize("clients", [1, 2, 50])
@pytest.mark.parametrize("warmup_s", [0.0, 0.5, 1.0, 1.5])
def test_a_closed_loop_whose_warmup_is_shorter_than_its_latency(clients: int, warmup_s: float) -> None:
    samples = _lockstep(clients, 6 * clients, SECOND)
    found = _delivered(samples, ClosedLoop(clients), warmup_s, warmup_s + 4.5)
    assert found.rate.value == pytest.approx(clients)
    assert found.rate.low == pytest.approx(clients)
    assert found.short == ""


def test_a_straggler_of_the_last_round_is_not_waited_for() -> None:
    latency = np.full(100, 200 * MS)
    latency[99] = 5 * SECOND
    samples = _lockstep(50, 100)
    found = _delivered(_samples(samples.sent_ns, latency), ClosedLoop(50), 0.0, 0.2 + 1e-9)
    assert found.rate.value == pytest.approx(250.0)


@pytest.mark.parametrize("warmup_s", [0.0, 2.0, 3.0, 5.0])
def test_an_open_loop_whose_warmup_is_shorter_than_its_latency(warmup_s: float) -> None:
    """20 requests a second to a server that takes 3 s: 20 answers a second."""
    samples = _samples(START + np.arange(240) * 50 * MS, 3 * SECOND)
    found = _delivered(samples, OpenLoop(20.0, Arrival.CONSTANT), warmup_s, 12.0)
    assert found.rate.value == pytest.approx(20.0)
    assert found.short == ""


def test_an_open_loop_that_is_shorter_than_its_answers_take() -> None:
    samples = _samples(START + np.arange(100) * 50 * MS, 3 * SECOND)
    found = _delivered(samples, OpenLoop(20.0, Arrival.CONSTANT), 0.0, 5.0)
    assert "p99 of the latency is 3 s, and requests were sent for 5 s" in found.short
    assert [doubt.figures for doubt in found.doubts()] == [("throughput_rps",)]


def test_an_overloaded_server_delivers_what_it_can() -> None:
    """100 a second are due, one is done every 20 ms; those wait ever longer."""
    due = START + np.arange(1000) * 10 * MS
    samples = _samples(due, START + (np.arange(1000) + 1) * 20 * MS - due)
    assert _delivered(samples, OpenLoop(100.0, Arrival.CONSTANT), 1.0, 10.0).rate.value == pytest.approx(50.0)


def test_failures_are_no_answers() -> None:
    samples = _lockstep(2, 40)
    samples.outcome[::2] = Outcome.HTTP_5XX
    found = _delivered(samples, ClosedLoop(2), 0.0, 3.9)
    assert found.rate.value == pytest.approx(5.0)
    assert _delivered(_lockstep(2, 40), ClosedLoop(2), 0.0, 3.9).rate.value == pytest.approx(10.0)


@pytest.mark.parametrize("load", [ClosedLoop(3), OpenLoop(20.0)])
@given(
    rows=st.lists(st.tuples(st.integers(0, 10 * SECOND), st.integers(0, SECOND), st.sampled_from(Outcome))),
    start_s=st.floats(0.0, 10.0),
    end_s=st.floats(0.0, 10.0),
)
def test_no_run_whatever_crashes_it(
    load: Step, rows: list[tuple[int, int, Outcome]], start_s: float, end_s: float
) -> None:
    columns = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)
    samples = _samples(START + columns[:, 0], columns[:, 1])
    samples.outcome[:] = columns[:, 2]
    found = _delivered(samples, load, start_s, end_s).rate
    assert found.value >= 0.0
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.high >= found.value
