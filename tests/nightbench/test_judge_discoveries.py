"""Benjamini-Yekutieli: against scipy, and what it promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from nightbench.judge.discoveries import discoveries

P = st.floats(0.0, 1.0, allow_nan=False)


@given(st.lists(P, min_size=1, max_size=60), st.sampled_from([0.01, 0.05, 0.2]))
def test_it_finds_what_scipy_finds(p_values: list[float], rate: float) -> None:
    adjusted = false_discovery_control(p_values, method="by")
    # On the bound itself the last digit decides, and the two compute it differently.
    clear = np.abs(adjusted - rate) > 1e-9
    assert [each for each, kept in zip(discoveries(p_values, rate), clear, strict=True) if kept] == list(
        (adjusted <= rate)[clear]
    )


def test_a_series_far_out_is_found_among_two_thousand() -> None:
    assert discoveries([1e-7, *[0.5] * 1999], 0.05) == [True, *[False] * 1999]
    assert not any(discoveries([1e-5, *[0.5] * 1999], 0.05))


def test_many_that_moved_help_each_other() -> None:
    assert sum(discoveries([1e-4] * 100 + [0.5] * 1900, 0.05)) == 100
    assert sum(discoveries([1e-4] * 10 + [0.5] * 1990, 0.05)) == 0


@given(st.lists(P, min_size=2, max_size=40), st.data())
def test_a_larger_p_value_never_makes_another_discovery(p_values: list[float], data: st.DataObject) -> None:
    """So a series of which only this is known, that nothing was found in it, may stand as 1."""
    at = data.draw(st.integers(0, len(p_values) - 1))
    before = discoveries(p_values, 0.1)
    after = discoveries([*p_values[:at], 1.0, *p_values[at + 1 :]], 0.1)
    assert all(was or not now for was, now in zip(before, after, strict=True))


def test_nothing_judged_is_nothing_found() -> None:
    assert discoveries([], 0.05) == []


@pytest.mark.parametrize(("p_values", "rate"), [([0.5], 0.0), ([0.5], 1.0), ([-0.1], 0.05), ([float("nan")], 0.05)])
def test_what_is_no_probability_is_refused(p_values: list[float], rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate|p-value"):
        discoveries(p_values, rate)
