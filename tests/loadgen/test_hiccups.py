"""Standstills as delays: the closed form against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.hiccups import delays_ns


def test_without_standstills_nothing_is_delayed() -> None:
    assert delays_ns([], 10**9) == {"p99": 0, "p999": 0, "max": 0}
    assert delays_ns([], 0) == {}


def test_one_standstill_delays_its_share_of_the_moments() -> None:
    # A twentieth of the time stands still: a hundredth of all moments waits for its last four fifths or longer.
    assert delays_ns([50_000], 1_000_000) == {"p99": 40_000, "p999": 49_000, "max": 50_000}


@given(st.lists(st.integers(10, 400), max_size=20), st.integers(0, 20_000))
def test_quantiles_are_those_of_every_single_moment(gaps: list[int], calm: int) -> None:
    observed = sum(gaps) + calm
    moments = np.zeros(observed)
    at = 0
    for gap in gaps:
        moments[at : at + gap] = np.arange(gap, 0, -1)
        at += gap
    found = delays_ns(gaps, observed)
    if observed:
        for name, level in (("p99", 0.99), ("p999", 0.999)):
            longer = np.count_nonzero(moments > found[name] + 1)
            assert longer <= (1 - level) * observed + len(gaps)
            assert found[name] == 0 or np.count_nonzero(moments >= found[name]) >= (1 - level) * observed - len(gaps)
        assert found["max"] == pytest.approx(max(gaps, default=0))
