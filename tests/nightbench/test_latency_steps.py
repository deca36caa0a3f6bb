"""Latencies counted in steps lose nothing and lie where they belong."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nightbench.histogram import HIGHEST_NS, LatencyHistogram
from nightbench.latency_steps import STEPS_NS, counted


@given(st.lists(st.integers(1, HIGHEST_NS), min_size=1, max_size=50))
def test_every_latency_is_counted_once(values: list[int]) -> None:
    steps = counted(LatencyHistogram.from_ns(np.array(values)))
    assert sum(steps.values()) == len(values)
    assert set(steps) <= set(STEPS_NS)


def test_a_latency_is_counted_at_the_first_step_that_is_not_below_it() -> None:
    assert counted(LatencyHistogram.from_ns(np.array([1_400_000, 1_600_000, 1_900_000]))) == {
        1_500_000: 1,
        2_000_000: 2,
    }


def test_steps_rise_by_less_than_a_factor_of_two() -> None:
    ratios = np.array(STEPS_NS[1:-1]) / np.array(STEPS_NS[:-2])
    assert ((ratios > 1) & (ratios < 2)).all()
