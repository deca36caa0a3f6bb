"""The warm-up cut, on series whose transient is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

from nightbench.stats.warmup import Cut, warmup_cut

N = 4000
TIME = np.arange(N)


@pytest.fixture
def steady() -> np.ndarray:
    """A hundred steady series."""
    return 1e6 * np.exp(0.3 * np.random.default_rng(7).standard_normal((100, N)))


@given(arrays(np.int64, st.integers(0, 400), elements=st.integers(0, 10**12)))
def test_the_cut_never_takes_more_than_half(values: np.ndarray) -> None:
    cut = warmup_cut(values)
    assert 0 <= cut.index <= len(values) / 2
    assert cut.stationary != bool(cut.detail)


@given(st.integers(100, 500), st.integers(0, 10**12))
def test_constant_values_need_no_cut(n: int, value: int) -> None:
    cut = warmup_cut(np.full(n, value))
    assert cut.index == 0
    assert cut.stationary


def test_steady_series_are_left_alone(steady: np.ndarray) -> None:
    cuts = [warmup_cut(row) for row in steady]
    assert sum(not cut.stationary for cut in cuts) <= 1
    assert np.median([cut.index for cut in cuts]) <= 10
    assert max(cut.index for cut in cuts) <= 60


def test_steady_but_correlated_or_bimodal_series_are_left_alone() -> None:
    rng = np.random.default_rng(8)
    red = np.exp(0.2 * lfilter([1.0], [1.0, -0.9], rng.standard_normal((50, N + 500)), axis=1)[:, 500:])
    modes = np.where(rng.random((50, N)) < 0.5, 1.0, 10.0)
    assert sum(not warmup_cut(row).stationary for row in [*red, *modes]) <= 1


@pytest.mark.parametrize(("length", "factor"), [(120, 1.3), (400, 2.0), (1600, 1.5), (100, 50.0)])
def test_a_slow_beginning_is_cut(steady: np.ndarray, length: int, factor: float) -> None:
    cuts = [warmup_cut(row) for row in steady * np.where(length > TIME, factor, 1.0)]
    assert np.median([cut.index for cut in cuts]) == pytest.approx(length, abs=15)
    assert sum(not cut.stationary for cut in cuts) <= 2


def test_a_decay_is_cut_where_noise_takes_over(steady: np.ndarray) -> None:
    tau = 80
    cuts = [warmup_cut(row) for row in steady * (1 + 2 * np.exp(-TIME / tau))]
    assert 2 * tau <= np.median([cut.index for cut in cuts]) <= 5 * tau


def test_lone_outliers_are_no_warmup(steady: np.ndarray) -> None:
    steady[:, [N // 20, int(N * 0.9)]] *= 1000
    cuts = [warmup_cut(row) for row in steady]
    assert np.quantile([cut.index for cut in cuts], 0.9) <= 30
    assert sum(not cut.stationary for cut in cuts) <= 1


@pytest.mark.parametrize(("growth", "doubted"), [(1.0, 100), (0.2, 99)])
def test_drift_is_doubted(steady: np.ndarray, growth: float, doubted: int) -> None:
    assert sum(not warmup_cut(row).stationary for row in steady * (1 + growth * TIME / N)) >= doubted


def test_a_trifling_drift_is_not_however_significant() -> None:
    quiet = 1e6 * (1 + 0.001 * np.random.default_rng(9).standard_normal(N))
    assert warmup_cut(quiet * (1 + 0.03 * TIME / N)).stationary


def test_a_step_late_in_the_run_is_doubted(steady: np.ndarray) -> None:
    assert sum(not warmup_cut(row).stationary for row in steady * np.where(TIME > 0.6 * N, 1.3, 1.0)) >= 95


def test_a_warmup_that_outlasts_half_the_run_is_no_steady_state() -> None:
    falling = 1e6 * (2 - TIME / N) + np.random.default_rng(3).standard_normal(N)
    assert not warmup_cut(falling).stationary


def test_too_few_values_are_no_evidence_of_unrest() -> None:
    assert warmup_cut(np.arange(99)) == Cut(0, True, needed=100)
    assert warmup_cut(np.arange(100)).needed is None


def _queue(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    return 3.0 * np.exp(sigma * rng.standard_normal(n))


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(300, 3000),
    calm=st.floats(0.0, 1.0),
    stalled=st.integers(60, 200),
    sigma=st.floats(0.01, 0.6),
)
def test_a_stall_after_a_calm_start_is_never_cut(seed: int, n: int, calm: float, stalled: int, sigma: float) -> None:
    """The server stops; requests due meanwhile wait until it goes on, 10 ms less for each that came later."""
    values = _queue(np.random.default_rng(seed), n, sigma)
    begins = 100 + int(calm * (n - 110))
    waits = 10.0 * np.arange(stalled, 0, -1)[: n - begins]
    values[begins : begins + len(waits)] += waits
    assert warmup_cut(values).index <= begins


def test_calm_within_the_minimum_warmup_counts() -> None:
    """As evidence by chance: `warmup_cut` says that one stall in 2,000 is still cut after fifty calm requests."""
    rng = np.random.default_rng(12)
    cut = 0
    for begins, stalled in rng.integers((0, 20), (40, 120), (1000, 2)):
        values = _queue(rng, 650, 0.2)
        values[50 + begins : 50 + begins + stalled] += 10.0 * np.arange(stalled, 0, -1)
        cut += warmup_cut(values[50:], before=values[:50]).index > begins
    assert cut <= 3


@given(seed=st.integers(0, 2**32 - 1), slow=st.integers(30, 250), before=st.integers(0, 100))
def test_what_was_slow_from_the_start_is_cut(seed: int, slow: int, before: int) -> None:
    values = _queue(np.random.default_rng(seed), before + 1000, 0.2)
    values[: before + slow] += 50.0
    assert slow - 5 <= warmup_cut(values[before:], before=values[:before]).index <= slow + 200


def test_a_stall_after_a_warmup_and_calm_leaves_the_cut_at_the_warmup(steady: np.ndarray) -> None:
    values = steady * np.where(TIME < 200, 3.0, 1.0)
    values[:, 700:900] *= 100.0
    cuts = [warmup_cut(row).index for row in values]
    assert 195 <= min(cuts) <= max(cuts) <= 240


def test_the_first_slow_requests_of_a_cold_start_are_cut(steady: np.ndarray) -> None:
    steady[:, :10] *= 100.0
    assert all(10 <= warmup_cut(row).index <= 60 for row in steady)
