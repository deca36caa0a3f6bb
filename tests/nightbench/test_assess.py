"""Figures and doubts of simulated cells whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.figures import Estimate, Reason
from nightbench.histogram import LatencyHistogram
from nightbench.load import Arrival, ClosedLoop, EndedBy, Load, OpenLoop
from nightbench.samples import Outcome
from tests.nightbench.cells import MS, OPEN, SECOND, START, closed_cell, judge, make, open_cell, reasons


def test_a_sound_open_cell_has_right_figures_and_no_doubt() -> None:
    samples = open_cell()
    found = judge(samples)
    assert found.doubts == ()
    assert SECOND <= found.warmup_ns < 1.5 * SECOND
    assert found.warmup_ns + found.measured_ns == 10 * SECOND
    for name, truth in {"p50": 4.0, "p90": 7.59, "p95": 9.10, "p99": 12.8}.items():
        estimate = found.latency_ns[name]
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= truth * MS <= estimate.high
    assert found.service_ns == found.latency_ns
    assert found.throughput_rps.value == pytest.approx(400, rel=0.06)
    assert found.offered_rps == pytest.approx(400, rel=0.06)
    assert found.counts == {"ok": LatencyHistogram.decode(found.histogram).count}
    assert found.client_cpu_ns_per_request == pytest.approx(2 * SECOND / len(samples))
    assert found.lag_ns == {"p50": 0.0, "p99": 0.0, "p999": 0.0}


def test_a_sound_closed_cell_has_no_doubt_and_offers_nothing() -> None:
    found = judge(closed_cell(8), ClosedLoop(8))
    assert found.doubts == ()
    assert found.offered_rps is None
    assert found.throughput_rps.value == pytest.approx(2000, rel=0.01)


def test_the_warmup_is_cut_by_what_the_samples_show_beyond_the_minimum() -> None:
    samples = open_cell()
    slow = samples.intended_ns < START + 3 * SECOND
    found = judge(replace(samples, done_ns=samples.done_ns + slow * 20 * MS))
    assert found.warmup_ns == pytest.approx(3 * SECOND, rel=0.05)
    assert found.latency_ns["p50"].value == pytest.approx(4 * MS, rel=0.1)
    assert Reason.NOT_STATIONARY not in reasons(found)


@pytest.mark.parametrize("stopped_s", [0.3, 0.6, 1.26, 1.6, 2.5, 3.2])
def test_a_server_that_stops_for_a_second_shows_in_the_tail(stopped_s: float) -> None:
    """100 requests a second for 4.2 s, the server stopped for one of them and quick otherwise."""
    rng = np.random.default_rng(4)
    intended = START + np.sort(rng.integers(0, int(4.2 * SECOND), 420))
    stop, go = (START + round(at * SECOND) for at in (stopped_s, stopped_s + 1.0))
    service = (3 * MS * np.exp(0.1 * rng.standard_normal(420))).astype(np.int64)
    stalled = (intended >= stop) & (intended < go)
    found = judge(
        make(intended, service + np.where(stalled, go - intended, 0)),
        OpenLoop(100.0),
        min_warmup_ns=SECOND // 5,
        duration_s=4.2,
        ended_ns=START + 5 * SECOND,
    )
    assert found.warmup_ns < stop - START
    assert found.latency_ns["p50"].value < 10 * MS
    assert found.latency_ns["p90"].value > 500 * MS
    assert Reason.TOO_FEW_SAMPLES in reasons(found)


def test_a_stall_within_the_minimum_warmup_is_warmup() -> None:
    samples = open_cell()
    go = START + SECOND
    found = judge(replace(samples, done_ns=np.where(samples.intended_ns < go, go + MS, samples.done_ns)))
    assert found.doubts == ()
    assert found.latency_ns["p99"].value < 20 * MS


def test_requests_belong_by_intended_time_and_throughput_by_completion() -> None:
    intended = START + np.arange(1000) * 10 * MS
    found = judge(make(intended, np.full(1000, 500 * MS)), OpenLoop(100.0, Arrival.CONSTANT))
    assert found.counts == {"ok": 900}
    assert found.throughput_rps.value == pytest.approx(100.0)
    assert found.latency_ns["p50"].value == 500 * MS


def test_a_tail_that_the_samples_cannot_carry_is_absent_and_doubted() -> None:
    found = judge(open_cell(rate=30.0), OpenLoop(30.0))
    assert "p99" not in found.latency_ns
    assert "p50" in found.latency_ns
    detail = next(doubt.detail for doubt in found.doubts if doubt.reason is Reason.TOO_FEW_SAMPLES)
    assert "p99 needs about" in detail
    assert "steady" not in detail
    assert "p50" not in detail


def test_too_little_data_is_one_doubt_and_no_evidence_of_unrest() -> None:
    found = judge(open_cell(rate=6.0), OpenLoop(6.0))
    assert reasons(found) == {Reason.TOO_FEW_SAMPLES}
    (doubt,) = found.doubts
    assert doubt.detail.endswith("p95 needs about 100, p99 needs about 500, a steady state needs about 100")


def test_samples_are_cut_out_without_copies() -> None:
    samples = open_cell()
    part = samples.between(START + SECOND, START + 2 * SECOND)
    inside = (samples.intended_ns >= START + SECOND) & (samples.intended_ns < START + 2 * SECOND)
    assert np.array_equal(part.done_ns, samples.where(inside).done_ns)
    assert np.shares_memory(part.done_ns, samples.done_ns)
    assert len(samples.between(START + SECOND, START)) == 0


@pytest.mark.parametrize("ended_by", [EndedBy.PRECISION, EndedBy.REQUESTS, EndedBy.ROWS])
def test_a_cell_that_ended_early_was_measured_until_its_last_request(ended_by: EndedBy) -> None:
    """The last answer took five seconds, in which nothing was sent any more."""
    intended = START + np.arange(400) * 10 * MS
    service = np.full(400, MS)
    service[-1] = 5 * SECOND
    samples = make(intended, service)
    found = judge(samples, OpenLoop(100.0, Arrival.CONSTANT), ended_by=ended_by, duration_s=60.0)
    assert found.warmup_ns + found.measured_ns == 4 * SECOND
    assert found.offered_rps == pytest.approx(100.0)
    assert found.throughput_rps.value == pytest.approx(100.0, rel=0.01)
    assert found.counts == {"ok": 300}
    assert Reason.RATE_MISSED not in reasons(found)


def test_a_cell_that_ran_its_time_was_measured_for_all_of_it() -> None:
    samples = open_cell(seconds=8)
    found = judge(samples, ended_by=EndedBy.DURATION)
    assert found.warmup_ns + found.measured_ns == 10 * SECOND


@given(st.lists(st.integers(0, 20 * SECOND), max_size=20), st.sampled_from(EndedBy))
def test_no_window_outlasts_the_run(offsets: list[int], ended_by: EndedBy) -> None:
    intended = START + np.array(sorted(offsets), dtype=np.int64)
    ended = max(START + 9 * SECOND, int(intended.max(initial=0)) + MS)
    found = judge(make(intended, np.full(len(intended), MS)), ended_by=ended_by, ended_ns=ended)
    planned = START + 10 * SECOND
    most = planned if ended_by is EndedBy.DURATION else min(ended, planned)
    assert START + found.warmup_ns + found.measured_ns <= most
    if ended_by is not EndedBy.DURATION and len(intended):
        assert sum(found.counts.values()) == np.count_nonzero(
            (intended >= START + found.warmup_ns) & (intended < START + 10 * SECOND)
        )


@pytest.mark.parametrize("load", [OPEN, ClosedLoop(4)])
def test_nothing_at_all(load: Load) -> None:
    empty = np.array([], dtype=np.int64)
    found = judge(make(empty, empty), load, client_cpu_ns=0)
    assert found.throughput_rps.value == 0.0
    assert (found.latency_ns, found.service_ns, found.lag_ns, found.counts) == ({}, {}, {}, {})
    assert found.client_cpu_ns_per_request is None
    assert Reason.TOO_FEW_SAMPLES in reasons(found)


def test_everything_failed() -> None:
    found = judge(open_cell(outcome=Outcome.REFUSED))
    assert found.throughput_rps.value == 0.0
    assert found.latency_ns == {}
    assert found.counts.keys() == {"refused"}
    assert {Reason.TOO_FEW_SAMPLES, Reason.ERRORS, Reason.RATE_MISSED} <= reasons(found)


def test_a_warmup_longer_than_the_run_leaves_nothing() -> None:
    found = judge(open_cell(), min_warmup_ns=60 * SECOND)
    assert found.measured_ns == 0
    assert found.throughput_rps == Estimate(0.0)
    assert found.offered_rps == 0.0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10 * SECOND), st.integers(0, SECOND), st.integers(0, SECOND), st.sampled_from(Outcome)
        ),
        max_size=40,
    ),
    st.sampled_from([OPEN, ClosedLoop(3)]),
)
def test_no_samples_whatever_crash_it(rows: list[tuple[int, int, int, Outcome]], load: Load) -> None:
    columns = np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)
    samples = make(START + columns[:, 0], columns[:, 2], columns[:, 1], columns[:, 3].astype(np.uint8))
    found = judge(samples, load)
    inside = np.count_nonzero((samples.intended_ns >= START + SECOND) & (samples.intended_ns < START + 10 * SECOND))
    assert sum(found.counts.values()) == inside
    assert found.throughput_rps.value >= 0.0


def test_a_schedule_that_was_sent_to_its_end_was_measured_to_its_end() -> None:
    """2 requests a second for 5 s: nothing is due in the last half second, and the window holds it all the same."""
    samples = make(START + np.arange(10) * SECOND // 2, np.full(10, MS))
    for told in ({}, {"sending_ended_ns": START + 5 * SECOND}):
        found = judge(
            samples,
            OpenLoop(2.0, Arrival.CONSTANT),
            duration_s=5.0,
            min_warmup_ns=0,
            ended_ns=int(samples.done_ns[-1]),
            **told,
        )
        assert found.measured_ns == 5 * SECOND
        assert found.offered_rps == pytest.approx(2.0)
        assert found.throughput_rps.value == pytest.approx(2.0, rel=0.001)


@pytest.mark.parametrize("load", [OPEN, ClosedLoop(8)])
@pytest.mark.parametrize("ended_by", EndedBy)
def test_the_window_ends_when_the_engine_says_that_sending_ended(load: Load, ended_by: EndedBy) -> None:
    found = judge(open_cell(seconds=8), load, ended_by=ended_by, sending_ended_ns=START + 7 * SECOND)
    assert found.warmup_ns + found.measured_ns == 7 * SECOND


def test_a_warmup_shorter_than_the_latency_costs_no_throughput() -> None:
    """20 requests a second to a server that takes 3 s, 2 s of them warm-up."""
    intended = START + np.arange(200) * 50 * MS
    found = judge(make(intended, np.full(200, 3 * SECOND)), OpenLoop(20.0, Arrival.CONSTANT), min_warmup_ns=2 * SECOND)
    assert found.throughput_rps.value == pytest.approx(20.0)
    assert Reason.RATE_MISSED not in reasons(found)
    assert found.counts == {"ok": 160}


def test_a_run_too_short_for_a_throughput_says_so() -> None:
    found = judge(
        make(np.full(50, START), np.full(50, 200 * MS)),
        ClosedLoop(50),
        ended_by=EndedBy.REQUESTS,
        min_warmup_ns=0,
        sending_ended_ns=START + MS,
    )
    assert found.throughput_rps == Estimate(pytest.approx(250.0))
    assert ("throughput_rps",) in [doubt.figures for doubt in found.doubts]
