"""Levels and scatter against scipy, and intervals that hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from nightbench.judge.levels import Scatter, centre, estimate, scatter

LOGS = st.lists(st.floats(-50, 50), min_size=10, max_size=80).map(np.array)


def test_the_centre_is_scipys_trimmed_mean_and_of_few_values_the_median() -> None:
    rng = np.random.default_rng(1)
    for n in (5, 7, 12, 60):
        values = rng.standard_normal(n)
        assert centre(values) == pytest.approx(stats.trim_mean(values, 0.2))
    for n in (1, 2, 3, 4):
        values = rng.standard_normal(n)
        assert centre(values) == pytest.approx(float(np.median(values)))


@given(LOGS, st.floats(-100, 100))
def test_a_shift_moves_the_centre_and_no_scatter(logs: NDArray[np.float64], by: float) -> None:
    one, other = scatter(logs), scatter(logs + by)
    assert centre(logs + by) == pytest.approx(centre(logs) + by, abs=1e-9)
    assert (other.scale, other.bulk) == pytest.approx((one.scale, one.bulk), abs=1e-9)


@given(LOGS)
def test_scatter_is_the_same_in_reverse(logs: NDArray[np.float64]) -> None:
    one, other = scatter(logs), scatter(logs[::-1])
    assert (other.scale, other.bulk) == pytest.approx((one.scale, one.bulk))
    assert other.memory == pytest.approx(one.memory, abs=1e-6)


@given(LOGS)
def test_scatter_is_what_it_says(logs: NDArray[np.float64]) -> None:
    noise = scatter(logs)
    assert noise.nights == len(logs)
    assert 0.0 <= noise.bulk <= noise.scale
    assert 0.0 <= noise.memory < 1.0


def test_the_scale_is_that_of_normal_values_with_and_without_outliers() -> None:
    rng = np.random.default_rng(2)
    draws = rng.standard_normal((400, 60))
    assert np.mean([scatter(row).scale for row in draws]) == pytest.approx(1.0, abs=0.05)
    draws[:, ::30] = 1e6
    assert np.mean([scatter(row).scale for row in draws]) == pytest.approx(1.1, abs=0.1)


def test_a_rarer_mode_counts_in_the_scale_and_not_in_the_bulk() -> None:
    rng = np.random.default_rng(3)
    values = 0.01 * rng.standard_normal(60) + (rng.random(60) < 0.25)
    noise = scatter(values)
    assert noise.scale == pytest.approx(float(values.std()), rel=0.1)
    assert noise.bulk < 0.03


def test_the_memory_of_an_ar1_process_is_found() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(300):
        draws = rng.standard_normal(60)
        for at in range(1, 60):
            draws[at] += 0.3 * draws[at - 1]
        found.append(scatter(draws).memory)
    assert np.mean(found) == pytest.approx(0.28, abs=0.05)


@pytest.mark.parametrize("memory", [0.0, 0.3])
@pytest.mark.parametrize("nights", [1, 2, 7, 60])
def test_dependence_is_the_variance_of_the_mean_over_that_of_independent_nights(memory: float, nights: int) -> None:
    lags = np.abs(np.subtract.outer(np.arange(nights), np.arange(nights)))
    wanted = float((memory**lags).sum()) / nights
    assert float(Scatter(60, 1.0, 1.0, memory).dependence(nights)) == pytest.approx(wanted)


def test_intervals_hold_the_level_of_dependent_nights() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        draws = 0.03 * rng.standard_normal(60)
        for at in range(1, 60):
            draws[at] += 0.3 * draws[at - 1]
        level = estimate(draws, scatter(draws))
        assert level.low is not None
        assert level.high is not None
        held += level.low <= 1.0 <= level.high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_what_does_not_scatter_is_known_exactly() -> None:
    level = estimate(np.full(20, math.log(7.0)), scatter(np.full(20, math.log(7.0))))
    assert (level.value, level.low, level.high) == pytest.approx((7.0, 7.0, 7.0))
