"""Cells that lend each other what they know of spread."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from nightbench.figures import Estimate
from nightbench.stats.combine import Spread, combine
from nightbench.stats.moderate import combine_all, fit_prior


def _night(cells: int, rounds: int, sigma: float = 0.03, seed: int = 1) -> list[list[Estimate]]:
    values = 1e6 * np.exp(sigma * np.random.default_rng(seed).standard_normal((cells, rounds)))
    return [[Estimate(value) for value in row] for row in values.tolist()]


def _width(estimate: Estimate) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return math.log(estimate.high / estimate.low)


groups = st.lists(
    st.lists(st.builds(Estimate, st.floats(1e-6, 1e12) | st.just(0.0)), min_size=1, max_size=4), max_size=12
)


@given(groups)
def test_values_are_those_of_combine(night: list[list[Estimate]]) -> None:
    found = combine_all(night)
    assert [each.value for each in found] == [combine(rounds).value for rounds in night]
    for each in found:
        assert each.low is None or each.low <= each.value
        assert each.high is None or each.high >= each.value


@given(groups, st.randoms())
def test_the_order_of_cells_is_nothing(night: list[list[Estimate]], random: Random) -> None:
    order = list(range(len(night)))
    random.shuffle(order)
    found, before = combine_all([night[at] for at in order]), combine_all(night)
    for each, other in zip(found, [before[at] for at in order], strict=True):
        assert each.value == other.value
        assert (each.high or 0.0) == pytest.approx(other.high or 0.0, rel=1e-6)


def test_two_rounds_among_many_are_known_better_than_alone() -> None:
    night = _night(18, 2)
    alone = np.median([_width(combine(rounds)) for rounds in night])
    together = np.median([_width(each) for each in combine_all(night)])
    assert together < 0.5 * alone
    assert together == pytest.approx(2 * stats.norm.ppf(0.975) * 0.03 / math.sqrt(2), rel=0.4)


def test_without_heterogeneity_it_is_smyths_estimate_with_all_the_freedom_there_is() -> None:
    """Equal variances leave no scatter at all: the prior is certain of them, and 8 cells of 3 rounds give 16."""
    night = [[Estimate(level * math.exp(x)) for x in (-0.1, 0.0, 0.1)] for level in range(1, 9)]
    bias = math.exp(math.log(1.0) - special.digamma(1.0))
    for each in combine_all(night):
        half = stats.t.ppf(0.975, 16) * 0.1 * math.sqrt(bias / 3)
        assert _width(each) == pytest.approx(2 * half, rel=1e-9)


def test_the_prior_is_found_again() -> None:
    """2000 variances from a scaled inverse chi-squared law of 6 degrees of freedom round 0.01, seen with 2 each."""
    rng = np.random.default_rng(3)
    seen = 0.01 * 6 / rng.chisquare(6, 2000) * rng.chisquare(2, 2000) / 2
    prior = fit_prior([[Spread(value, 2.0)] for value in seen.tolist()])
    assert prior is not None
    assert prior.dof == pytest.approx(6.0, rel=0.2)
    assert prior.variance == pytest.approx(0.01, rel=0.1)
    assert prior.known == 4000
    assert prior.moderated(Spread(0.03, 2.0)).variance == pytest.approx(
        (prior.dof * prior.variance + 0.06) / (prior.dof + 2)
    )


def test_cells_of_the_same_starts_are_one_witness() -> None:
    """Three cells that share every start say no more than one; counted apart they would look like three."""
    once = _night(6, 2)
    thrice = [rounds for rounds in once for _ in range(3)]
    units = [unit for unit in range(6) for _ in range(3)]
    assert combine_all(thrice, units=units)[::3] == [
        Estimate(each.value, pytest.approx(each.low), pytest.approx(each.high)) for each in combine_all(once)
    ]
    assert _width(combine_all(thrice)[0]) < _width(combine_all(once)[0])


def test_a_wild_server_keeps_its_own_interval_and_does_not_widen_the_others() -> None:
    night = _night(11, 3)
    wild = [Estimate(5e5), Estimate(1e6), Estimate(2e6)]
    found = combine_all([*night, wild])
    assert found[-1] == combine(wild)
    widths = [_width(each) for each in found[:-1]]
    assert np.median(widths) == pytest.approx(np.median([_width(each) for each in combine_all(night)]), rel=0.2)


@pytest.mark.parametrize(
    "night",
    [
        _night(3, 2),
        [*_night(3, 2), [Estimate(0.0), Estimate(1.0)]],
        [*_night(3, 2), [Estimate(7.0, 6.0, 8.0)]],
        [[Estimate(5.0), Estimate(5.0)]] * 8,
        [],
    ],
    ids=["three cells", "a zero", "one round", "no spread at all", "nothing"],
)
def test_nights_that_cannot_tell_get_plain_intervals(night: list[list[Estimate]]) -> None:
    assert combine_all(night) == [combine(rounds) for rounds in night]


def test_three_units_of_many_cells_cannot_tell_either() -> None:
    night = _night(12, 2)
    assert combine_all(night, units=[at % 3 for at in range(12)]) == [combine(rounds) for rounds in night]


def test_the_rounds_own_intervals_stay_the_floor() -> None:
    night = [[Estimate(each.value, each.value / 1.5, each.value * 1.5) for each in rounds] for rounds in _night(18, 2)]
    for each in combine_all(night):
        assert _width(each) >= 2 * math.log(1.5) / math.sqrt(2) * (1 - 1e-9)


def test_cells_that_are_nothing_alike_are_left_nearly_alone() -> None:
    night = [_night(1, 3, sigma=10.0**-power, seed=power)[0] for power in range(8)]
    for rounds, each in zip(night, combine_all(night), strict=True):
        assert _width(each) > 0.25 * _width(combine(rounds))
