"""The warm-up cut, on series whose transient is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

from nightbench.stats.warmup import warmup_cut

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
    assert max(cut.index for cut in cuts) <= 100


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


def test_too_few_values_are_said_to_be_too_few() -> None:
    cut = warmup_cut(np.arange(99))
    assert (cut.index, cut.stationary) == (0, False)
    assert "99 values" in cut.detail
