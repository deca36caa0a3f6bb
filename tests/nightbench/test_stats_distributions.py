"""The distributions against scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from nightbench.stats.distributions import order_rank, poisson_interval, regularized_beta, student_t_quantile


@given(st.floats(0.001, 0.999), st.floats(0.3, 5000.0), st.floats(0.3, 5000.0))
def test_beta_matches_scipy(x: float, a: float, b: float) -> None:
    assert regularized_beta(x, a, b) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(9.9e6, 1e5), (5e6, 5e6), (1e7, 6.0)])
def test_beta_of_a_huge_cell(a: float, b: float) -> None:
    mean = a / (a + b)
    sigma = math.sqrt(mean * (1 - mean) / (a + b))
    for x in mean + sigma * np.array([-2.5, -1.0, 0.0, 1.0, 2.0]):
        assert regularized_beta(float(x), a, b) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-6)


@given(st.floats(1e-5, 1 - 1e-5), st.floats(0.5, 1e6))
def test_student_t_matches_scipy(p: float, dof: float) -> None:
    assert student_t_quantile(p, dof) == pytest.approx(float(stats.t.ppf(p, dof)), rel=1e-7, abs=1e-9)


def test_student_t_known_answers() -> None:
    assert student_t_quantile(0.975, 1) == pytest.approx(12.7062047, rel=1e-8)
    assert student_t_quantile(0.975, 2) == pytest.approx(4.30265273, rel=1e-8)
    assert student_t_quantile(0.975, math.inf) == pytest.approx(1.95996398, rel=1e-8)
    assert student_t_quantile(0.5, 7) == 0.0
    with pytest.raises(ValueError, match="inside"):
        student_t_quantile(1.0, 3)


@given(st.integers(20, 3000), st.floats(0.05, 0.99), st.floats(0.005, 0.995))
def test_a_real_rank_lies_between_the_whole_ranks_of_the_binomial(size: int, q: float, p: float) -> None:
    """X_(r) lies below x_q when at least r of the values do."""
    rank = order_rank(size, q, p)
    binomial = stats.binom(size, q)
    assert binomial.sf(math.floor(rank) - 1) >= p - 1e-6
    assert binomial.sf(math.ceil(rank) - 1) <= p + 1e-6


@given(st.integers(0, 60), st.sampled_from([0.9, 0.95, 0.99]))
def test_poisson_interval_is_garwoods(count: int, confidence: float) -> None:
    tail = (1 - confidence) / 2
    low, high = poisson_interval(count, confidence)
    assert low == pytest.approx(stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0, rel=1e-7)
    assert high == pytest.approx(stats.chi2.ppf(1 - tail, 2 * count + 2) / 2, rel=1e-7)
