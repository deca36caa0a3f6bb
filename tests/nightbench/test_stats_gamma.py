"""The derivatives of log Gamma against scipy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from nightbench.stats.gamma import digamma, trigamma, trigamma_inverse

positive = st.floats(1e-3, 1e6)


@given(positive)
def test_digamma_matches_scipy(x: float) -> None:
    assert digamma(x) == pytest.approx(float(special.digamma(x)), rel=1e-11, abs=1e-12)


@given(positive)
def test_trigamma_matches_scipy(x: float) -> None:
    assert trigamma(x) == pytest.approx(float(special.polygamma(1, x)), rel=1e-11)


@given(st.floats(1e-8, 1e9))
def test_the_inverse_undoes_trigamma(y: float) -> None:
    assert float(special.polygamma(1, trigamma_inverse(y))) == pytest.approx(y, rel=2e-6)


@pytest.mark.parametrize("y", [0.0, -1.0, float("inf"), float("nan")])
def test_values_that_trigamma_never_takes(y: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        trigamma_inverse(y)
