"""Each doubt of a cell appears when there is reason for it, and only then."""

from dataclasses import replace

import numpy as np
import pytest

from nightbench.figures import Reason, Series
from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop, EndedBy, OpenLoop
from nightbench.samples import Outcome
from nightbench.witness import Served, Witness
from tests.nightbench.cells import MS, SECOND, START, closed_cell, judge, make, open_cell, reasons


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


def test_a_ceiling_of_the_null_server_is_not_the_clients() -> None:
    found = judge(open_cell(), seen=Witness(ceiling_rps=500.0, ceiling_by="server"))
    assert found.ceiling_share == pytest.approx(0.8, rel=0.06)
    assert found.doubts == ()


def test_a_client_without_a_connection_left_is_doubted_in_an_overload_too() -> None:
    assert reasons(judge(open_cell(), connections_short=True)) == {Reason.CONNECTIONS_SHORT}
    found = judge(open_cell(), connections_short=True, ended_by=EndedBy.OVER_SATURATED)
    assert reasons(found) == {Reason.OVER_SATURATED, Reason.CONNECTIONS_SHORT}
