"""Combining deployments."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nightbench.figures import Estimate
from nightbench.stats.combine import combine


def _estimate(value: float, below: float | None, above: float | None) -> Estimate:
    return Estimate(
        value, None if below is None else value * (1 - below), None if above is None else value * (1 + above)
    )


shares = st.none() | st.floats(0.0, 0.9)
estimates = st.builds(_estimate, st.floats(1e-3, 1e12), shares, shares)


@given(st.lists(estimates, min_size=1, max_size=8), st.randoms())
def test_the_order_of_rounds_is_nothing(rounds: list[Estimate], random: Random) -> None:
    shuffled = list(rounds)
    random.shuffle(shuffled)
    assert combine(shuffled) == combine(rounds)


@given(st.lists(estimates, min_size=2, max_size=8))
def test_the_value_lies_within_rounds_and_interval(rounds: list[Estimate]) -> None:
    found = combine(rounds)
    values = [each.value for each in rounds]
    assert min(values) * (1 - 1e-9) <= found.value <= max(values) * (1 + 1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_it_is_students_t_on_logarithms() -> None:
    values = [10.0, 12.0, 11.0, 14.0, 9.0]
    found = combine([Estimate(value) for value in values])
    low, high = stats.t.interval(0.95, 4, loc=np.mean(np.log(values)), scale=stats.sem(np.log(values)))
    assert found.value == pytest.approx(stats.gmean(values))
    assert (found.low, found.high) == (pytest.approx(math.exp(low)), pytest.approx(math.exp(high)))


def test_values_that_are_not_positive_stay_on_their_own_scale() -> None:
    found = combine([Estimate(0.0), Estimate(2.0), Estimate(4.0)])
    assert found.value == pytest.approx(2.0)
    assert found.low == 0.0
    assert found.high == pytest.approx(2.0 + 4.3026527 * 2.0 / math.sqrt(3))


def test_rounds_that_agree_by_luck_keep_the_uncertainty_they_came_with() -> None:
    found = combine([Estimate(100.0, 90.0, 110.0)] * 4)
    assert found.high is not None
    assert found.low is not None
    assert found.high - found.low == pytest.approx(20.0 / 2.0, rel=0.01)


def test_two_rounds_that_differ_are_wide() -> None:
    found = combine([Estimate(100.0, 99.0, 101.0), Estimate(110.0, 109.0, 111.0)])
    assert found.high is not None
    assert found.low is not None
    assert found.low < 70
    assert found.high > 150


def test_one_round_keeps_its_own_interval_and_none_is_an_error() -> None:
    alone = Estimate(3.0, 2.0, None)
    assert combine([alone]) == alone
    with pytest.raises(ValueError, match="nothing"):
        combine([])
