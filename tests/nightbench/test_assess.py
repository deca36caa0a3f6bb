"""Figures and doubts of simulated cells whose truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.assess import Assessed, assess
from nightbench.figures import Estimate, Reason, Series
from nightbench.histogram import LatencyHistogram
from nightbench.load import Arrival, ClosedLoop, EndedBy, Load, OpenLoop
from nightbench.samples import Outcome, Samples
from nightbench.witness import Served, Witness

SECOND = 1_000_000_000
MS = 1_000_000
START = 5 * SECOND
OPEN = OpenLoop(400.0)


def make(intended: np.ndarray, service: np.ndarray, lag: np.ndarray | int = 0, outcome: Any = Outcome.OK) -> Samples:
    sent = intended + lag
    codes = np.full(len(intended), outcome, dtype=np.uint8)
    return Samples(intended, sent, sent + service // 2, sent + service, codes, np.full(len(intended), 100))


def open_cell(rate: float = 400.0, seconds: int = 10, seed: int = 1, **columns: Any) -> Samples:
    """Poisson arrivals, lognormal service around 4 ms with a p99 near 12.8 ms."""
    rng = np.random.default_rng(seed)
    intended = START + np.sort(rng.integers(0, seconds * SECOND, rng.poisson(rate * seconds)))
    return make(intended, (4 * MS * np.exp(0.5 * rng.standard_normal(len(intended)))).astype(np.int64), **columns)


def closed_cell(concurrency: int, pause_ns: int = 0, seconds: int = 10) -> Samples:
    rng = np.random.default_rng(2)
    sent, service = [], []
    for _ in range(concurrency):
        times = rng.integers(3 * MS, 5 * MS, 3 * seconds * 1000 // 8)
        begun = np.concatenate([[0], np.cumsum(times + pause_ns)[:-1]])
        keep = begun < seconds * SECOND
        sent.append(START + begun[keep])
        service.append(times[keep])
    order = np.argsort(np.concatenate(sent), kind="stable")
    return make(np.concatenate(sent)[order], np.concatenate(service)[order])


def judge(samples: Samples, load: Load = OPEN, **given_: Any) -> Assessed:
    facts: dict[str, Any] = {
        "started_ns": START,
        "ended_ns": max(START + 10 * SECOND, int(samples.done_ns.max(initial=0))),
        "min_warmup_ns": SECOND,
        "client_cpu_ns": 2 * SECOND,
        "verified": 80,
        "wrong": 0,
        "duration_s": 10.0,
        "server_died": False,
    }
    return assess(samples, load, **(facts | given_))


def reasons(found: Assessed) -> set[Reason]:
    assert all(len(doubt.detail) > 10 for doubt in found.doubts)
    return {doubt.reason for doubt in found.doubts}


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


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.HTTP_5XX, Outcome.RESET])
def test_failures_are_counted_doubted_and_kept_out_of_latency(outcome: Outcome) -> None:
    samples = open_cell()
    samples.outcome[::100] = outcome
    found = judge(samples)
    assert reasons(found) == {Reason.ERRORS}
    assert outcome.label in found.doubts[0].detail
    assert found.counts[outcome.label] == pytest.approx(36, abs=4)
    assert LatencyHistogram.decode(found.histogram).count == found.counts["ok"]


def test_one_failure_in_thousands_is_no_doubt() -> None:
    samples = open_cell()
    samples.outcome[-50] = Outcome.RESET
    assert judge(samples).doubts == ()


def test_any_wrong_answer_is_doubted() -> None:
    found = judge(open_cell(), wrong=1)
    assert reasons(found) == {Reason.WRONG_OUTPUT}
    assert found.doubts[0].detail == "1 of 80 compared answers were wrong"


def test_sends_that_are_late_by_milliseconds_are_doubted() -> None:
    rng = np.random.default_rng(3)
    found = judge(open_cell(lag=rng.exponential(1 * MS, len(open_cell())).astype(np.int64)))
    assert Reason.LATE_SENDS in reasons(found)
    assert found.lag_ns["p99"] == pytest.approx(4.6 * MS, rel=0.2)
    assert found.latency_ns["p50"].value > found.service_ns["p50"].value


def test_sends_that_are_late_for_a_quick_server_are_doubted_below_a_millisecond() -> None:
    samples = open_cell()
    service = samples.service_ns // 40
    quick = replace(samples, sent_ns=samples.intended_ns + 50_000, done_ns=samples.intended_ns + 50_000 + service)
    assert Reason.LATE_SENDS in reasons(judge(quick))


def test_a_lag_too_small_to_matter_is_not_doubted() -> None:
    assert judge(open_cell(lag=60_000)).doubts == ()


def test_requests_never_sent_count_as_late() -> None:
    samples = open_cell()
    unsent = np.arange(len(samples)) % 20 == 0
    samples.outcome[unsent] = Outcome.UNFINISHED
    ended = START + 20 * SECOND
    samples = replace(
        samples, sent_ns=np.where(unsent, 0, samples.sent_ns), done_ns=np.where(unsent, ended, samples.done_ns)
    )
    found = judge(samples, ended_ns=ended)
    assert found.lag_ns["p99"] > SECOND
    assert {Reason.LATE_SENDS, Reason.ERRORS} <= reasons(found)


def test_in_process_a_late_start_is_a_wait_for_the_model() -> None:
    samples = open_cell(lag=5 * MS)
    assert reasons(judge(samples)) == {Reason.LATE_SENDS}
    assert judge(samples, in_process=True, client_cpu_ns=None).doubts == ()


def test_a_client_without_a_processor_to_spare_is_doubted() -> None:
    assert reasons(judge(open_cell(), client_cpu_ns=int(9.5 * SECOND))) == {Reason.CLIENT_SATURATED}
    assert judge(open_cell(), client_cpu_ns=None).client_cpu_ns_per_request is None


def test_the_busiest_of_several_client_processes_is_looked_at() -> None:
    workers = (int(9.5 * SECOND), SECOND)
    found = judge(open_cell(), client_cpu_ns=sum(workers), workers_cpu_ns=workers)
    assert reasons(found) == {Reason.CLIENT_SATURATED}
    assert "busiest of 2 client processes used 95%" in found.doubts[0].detail
    assert judge(open_cell(), client_cpu_ns=12 * SECOND, workers_cpu_ns=(6 * SECOND, 6 * SECOND)).doubts == ()
    assert judge(open_cell(), client_cpu_ns=None, workers_cpu_ns=workers).doubts == ()


def test_a_cell_near_the_clients_ceiling_is_doubted() -> None:
    near = judge(open_cell(), seen=Witness(ceiling_rps=500.0))
    assert near.ceiling_share == pytest.approx(0.8, rel=0.06)
    assert reasons(near) == {Reason.CLIENT_CEILING}
    far = judge(open_cell(), seen=Witness(ceiling_rps=5000.0))
    assert far.ceiling_share == pytest.approx(0.08, rel=0.06)
    assert far.doubts == ()
    assert judge(open_cell()).ceiling_share is None


def test_the_servers_counts_are_held_against_the_whole_run() -> None:
    samples = open_cell()
    assert judge(samples, seen=Witness(served=Served(len(samples)))).doubts == ()
    found = judge(samples, seen=Witness(served=Served(len(samples) + 7)))
    assert reasons(found) == {Reason.SERVER_COUNTS_DIFFER}


def test_a_gpu_is_looked_at_within_the_window_only() -> None:
    def hot_from(start_ms: int, end_ms: int) -> Witness:
        offsets = tuple(range(0, 10_000, 200))
        hot = tuple(float(start_ms <= at < end_ms) for at in offsets)
        return Witness((Series("gpu0", "thermal_slowdown", offsets, hot),))

    assert judge(open_cell(), seen=hot_from(0, 1000)).doubts == ()
    assert reasons(judge(open_cell(), seen=hot_from(4000, 9000))) == {Reason.GPU_THROTTLED}


def test_a_schedule_that_is_not_the_one_asked_for_is_doubted() -> None:
    found = judge(open_cell(), OpenLoop(500.0))
    assert reasons(found) == {Reason.RATE_MISSED}
    assert "500 were asked for" in found.doubts[0].detail


def test_a_rate_that_was_not_served_is_doubted() -> None:
    samples = open_cell()
    samples.outcome[::8] = Outcome.HTTP_5XX
    assert reasons(judge(samples)) == {Reason.RATE_MISSED, Reason.ERRORS}


def test_a_few_arrivals_more_or_less_are_chance() -> None:
    for seed in range(20):
        found = judge(open_cell(rate=20.0, seed=seed), OpenLoop(20.0))
        assert Reason.RATE_MISSED not in reasons(found)


def test_an_overloaded_server_is_unsteady_and_behind() -> None:
    intended = START + np.arange(4000) * (10 * SECOND // 4000)
    done = START + (np.arange(4000) + 1) * (10 * SECOND // 3000)
    found = judge(make(intended, done - intended))
    assert {Reason.NOT_STATIONARY, Reason.RATE_MISSED} <= reasons(found)


@pytest.mark.parametrize(
    ("slow_share", "figures"), [(0.5, ("p50",)), (0.08, ("p90", "p95")), (0.75, ("p50",)), (0.06, ("p95",))]
)
def test_the_quantiles_at_the_seam_of_two_modes_are_doubted(slow_share: float, figures: tuple[str, ...]) -> None:
    samples = open_cell()
    slow = np.random.default_rng(5).random(len(samples)) < slow_share
    service = np.where(slow, 8 * MS, 2 * MS) + samples.service_ns // 20
    found = judge(make(samples.intended_ns, service))
    (doubt,) = found.doubts
    assert doubt.reason is Reason.BIMODAL
    assert doubt.figures == figures
    assert "two modes" in doubt.detail


def test_a_backlog_that_only_grew_is_one_doubt() -> None:
    intended = START + np.arange(4000) * (10 * SECOND // 4000)
    done = START + (np.arange(4000) + 1) * (10 * SECOND // 1000)
    cell = make(intended, done - intended)
    found = judge(cell, ended_by=EndedBy.OVER_SATURATED)
    assert reasons(found) == {Reason.OVER_SATURATED}
    assert found.doubts[0].whole_cell
    assert "400 requests a second were due" in found.doubts[0].detail
    assert len(reasons(judge(cell))) > 1


def test_a_backlog_hides_neither_failures_nor_a_client_that_caused_it() -> None:
    samples = open_cell()
    samples.outcome[::10] = Outcome.TIMEOUT
    found = judge(samples, ended_by=EndedBy.OVER_SATURATED, client_cpu_ns=int(9.9 * SECOND))
    assert reasons(found) == {Reason.OVER_SATURATED, Reason.ERRORS, Reason.CLIENT_SATURATED}


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


def test_littles_law_shows_a_client_that_is_slow_to_send_again() -> None:
    found = judge(closed_cell(8, pause_ns=2 * MS), ClosedLoop(8))
    assert reasons(found) == {Reason.LITTLES_LAW}
    assert "8 requests" in found.doubts[0].detail


def test_littles_law_allows_for_the_edges_of_long_requests() -> None:
    """Two clients, each busy for seconds a request: the window's edges cut much of what it holds."""
    service = np.full(10, 2 * SECOND)
    found = judge(make(START + np.repeat(np.arange(5) * 2 * SECOND, 2), service), ClosedLoop(2))
    assert Reason.LITTLES_LAW not in reasons(found)


def others_use(warming_up: float, measuring: float) -> Witness:
    """Every 200 ms of ten seconds, percent of a processor in the first second and after it."""
    offsets = tuple(range(200, 10_000, 200))
    values = tuple(warming_up if at < 1000 else measuring for at in offsets)
    return Witness((Series("machine", "foreign_cpu_percent", offsets, values),))


def test_foreign_load_and_a_dead_server_are_doubted() -> None:
    found = judge(open_cell(), seen=others_use(1.0, 35.0), server_died=True)
    assert reasons(found) == {Reason.FOREIGN_LOAD, Reason.SERVER_DIED}
    assert judge(open_cell()).doubts == ()


def test_load_before_the_window_is_nobodys_concern() -> None:
    """An engine that starts is not known to be ours at once."""
    assert judge(open_cell(), seen=others_use(90.0, 4.0)).doubts == ()


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


def test_a_ceiling_of_the_null_server_is_not_the_clients() -> None:
    found = judge(open_cell(), seen=Witness(ceiling_rps=500.0, ceiling_by="server"))
    assert found.ceiling_share == pytest.approx(0.8, rel=0.06)
    assert found.doubts == ()


def test_a_client_without_a_connection_left_is_doubted_in_an_overload_too() -> None:
    assert reasons(judge(open_cell(), connections_short=True)) == {Reason.CONNECTIONS_SHORT}
    found = judge(open_cell(), connections_short=True, ended_by=EndedBy.OVER_SATURATED)
    assert reasons(found) == {Reason.OVER_SATURATED, Reason.CONNECTIONS_SHORT}
