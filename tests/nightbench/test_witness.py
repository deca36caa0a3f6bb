"""What others saw of a run: each doubt where it belongs, and none where it does not."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.figures import Doubt, Reason, Series
from nightbench.samples import Outcome, Samples
from nightbench.witness import Served, Witness, gpu_shared, gpu_throttled, server_counts

LOST = (Outcome.RESET, Outcome.TIMEOUT, Outcome.PROTOCOL_ERROR, Outcome.UNFINISHED)
ANSWERED_BADLY = (Outcome.HTTP_4XX, Outcome.HTTP_5XX, Outcome.RPC_ERROR, Outcome.HTTP_429, Outcome.HTTP_503)


def run(*outcomes: Outcome, sent: bool = True) -> Samples:
    times = np.arange(len(outcomes), dtype=np.int64) + 1
    codes = np.array(outcomes, dtype=np.uint8)
    return Samples(times, times * sent, times * sent, times + 1, codes, times * 0)


def counted(samples: Samples, requests: int, **more: Any) -> list[Doubt]:
    return list(server_counts(samples, Served(requests, **more)))


def gpu(metric: str, values: Any, source: str = "gpu0") -> Series:
    values = tuple(float(value) for value in values)
    return Series(source, metric, tuple(200 * at for at in range(len(values))), values)


# -- the server's counts


@given(st.lists(st.sampled_from([Outcome.OK, Outcome.WRONG_OUTPUT]), max_size=30), st.booleans())
def test_equal_counts_are_never_doubted(outcomes: list[Outcome], failed_too: bool) -> None:
    assert counted(run(*outcomes), len(outcomes), failed_too=failed_too) == []


@given(st.lists(st.sampled_from([Outcome.OK, Outcome.REFUSED]), max_size=30), st.integers(-3, 3).filter(bool))
def test_one_request_more_or_less_is_doubted(outcomes: list[Outcome], more: int) -> None:
    ok = outcomes.count(Outcome.OK)
    (doubt,) = counted(run(*outcomes), ok + more)
    assert doubt.reason is Reason.SERVER_COUNTS_DIFFER
    assert doubt.whole_cell
    assert f"{ok + more} requests, but {ok} were answered" in doubt.detail


@given(st.lists(st.sampled_from(Outcome), max_size=30), st.data())
def test_whatever_was_given_up_may_have_been_served(outcomes: list[Outcome], data: st.DataObject) -> None:
    lost = sum(outcome in LOST for outcome in outcomes)
    answered = sum(outcome in {Outcome.OK, Outcome.WRONG_OUTPUT} for outcome in outcomes)
    served = data.draw(st.integers(answered, answered + lost))
    assert counted(run(*outcomes), served) == []
    assert len(counted(run(*outcomes), answered + lost + 1)) == 1
    assert len(counted(run(*outcomes), answered - 1)) == 1


def test_a_server_that_counts_failures_too_may_have_counted_them() -> None:
    samples = run(Outcome.OK, *ANSWERED_BADLY)
    assert counted(samples, 6, failed_too=True) == counted(samples, 1, failed_too=True) == []
    assert len(counted(samples, 7, failed_too=True)) == 1
    assert len(counted(samples, 2)) == 1


def test_what_was_never_sent_cannot_have_been_served() -> None:
    assert len(counted(run(Outcome.UNFINISHED, sent=False), 1)) == 1


def test_a_server_that_does_not_count_is_not_doubted() -> None:
    assert list(server_counts(run(Outcome.OK), None)) == []


def test_the_words_say_which_way_the_counts_differ() -> None:
    (more,) = counted(run(Outcome.OK, Outcome.TIMEOUT), 9)
    assert "and 1 more may have been: someone else sends to it" in more.detail
    (fewer,) = counted(run(Outcome.OK, Outcome.OK), 1)
    assert "something in between answered" in fewer.detail


# -- GPUs


@pytest.mark.parametrize("metric", ["thermal_slowdown", "power_brake", "hw_slowdown"])
def test_a_gpu_that_was_slowed_down_is_doubted(metric: str) -> None:
    (doubt,) = gpu_throttled([gpu(metric, [0] * 40 + [1] * 10), gpu("utilisation_percent", [90] * 50)])
    assert doubt.reason is Reason.GPU_THROTTLED
    assert "gpu0 was slowed down in 20%" in doubt.detail


def test_one_sample_is_a_change_of_clocks() -> None:
    assert not list(gpu_throttled([gpu("hw_slowdown", [0, 0, 1])]))
    assert not list(gpu_throttled([gpu("hw_slowdown", [1, 1] + [0] * 38)]))
    assert list(gpu_throttled([gpu("hw_slowdown", [1, 1, 1] + [0] * 37)]))


def test_a_power_cap_alone_is_where_the_board_works() -> None:
    assert not list(gpu_throttled([gpu("power_cap", [1] * 50), gpu("sm_clock_mhz", [1500, 1515] * 25)]))


def test_an_idle_gpu_may_do_as_it_likes() -> None:
    idle = [
        gpu("utilisation_percent", [0] * 25 + [80] * 25),
        gpu("thermal_slowdown", [1] * 25 + [0] * 25),
        gpu("sm_clock_mhz", [210] * 25 + [1980] * 25),
    ]
    assert not list(gpu_throttled(idle))


def test_only_the_gpu_of_the_server_counts_where_it_is_known() -> None:
    hot = gpu("thermal_slowdown", [1] * 50, source="gpu1")
    assert list(gpu_throttled([hot]))
    assert not list(gpu_throttled([hot, gpu("foreign_processes", [0] * 50)]))


@pytest.mark.parametrize("after", [1683, 2277])
def test_a_clock_that_moved_by_fifteen_percent_is_doubted(after: int) -> None:
    jitter = np.random.default_rng(1).integers(-1, 2, 60) * 15
    (doubt,) = gpu_throttled([gpu("sm_clock_mhz", np.repeat([1980, after], 30) + jitter)])
    assert doubt.reason is Reason.GPU_THROTTLED
    assert "15%" in doubt.detail


def test_a_clock_that_moved_by_two_percent_is_not() -> None:
    assert not list(gpu_throttled([gpu("sm_clock_mhz", np.repeat([1980, 1940], 30))]))


@given(st.integers(0, 2**32), st.floats(0.0, 0.03), st.floats(0.0, 0.05))
def test_steady_telemetry_is_never_throttled(seed: int, jitter: float, capped: float) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(0, 200))
    steady = [
        gpu("sm_clock_mhz", rng.normal(1900.0, 1900.0 * jitter, size)),
        gpu("utilisation_percent", rng.integers(0, 101, size)),
        gpu("power_cap", rng.random(size) < capped),
        gpu("thermal_slowdown", [0] * size),
        gpu("hw_slowdown", [0] * size),
        gpu("power_brake", [0] * size),
    ]
    assert not list(gpu_throttled(steady))


def test_a_gpu_with_company_is_doubted() -> None:
    (doubt,) = gpu_shared([gpu("foreign_processes", [0] * 10 + [2] * 10)])
    assert doubt.reason is Reason.GPU_SHARED
    assert doubt.detail == "up to 2 other processes could compute on gpu0 in 50% of the samples"
    (doubt,) = gpu_shared([gpu("foreign_processes", [1, 1])])
    assert doubt.detail.startswith("another process could")


def test_a_gpu_alone_is_not() -> None:
    assert not list(gpu_shared([gpu("foreign_processes", [0] * 50)]))
    assert not list(gpu_shared([gpu("foreign_processes", [0] * 49 + [1])]))
    assert not list(gpu_shared([]))


def test_a_window_is_cut_from_the_telemetry() -> None:
    seen = Witness((gpu("power_w", range(10)), gpu("energy_j", [5])))
    assert seen.during(1_000_000_000, 1_400_000_000) == (Series("gpu0", "power_w", (1000, 1200, 1400), (5, 6, 7)),)
