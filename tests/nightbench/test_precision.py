"""When measuring may stop: looks, what must hold at them, and what the intervals are worth after."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.coverage.stopping import STOPPED, Stopping, cover_stopping
from nightbench.figures import Estimate
from nightbench.precision import Precision, first_look_s, next_look_s, reached
from nightbench.stats.quantiles import quantiles
from nightbench.stats.warmup import warmup_cut

NONE = np.empty(0, dtype=np.int64)
CALM = (1e6 * np.exp(0.5 * np.random.default_rng(0).standard_normal(40_000))).astype(np.int64)


@given(warmup=st.floats(0, 60), budget=st.floats(1, 3600))
def test_looks_go_forward_and_are_few(warmup: float, budget: float) -> None:
    at, looks = first_look_s(warmup), 0
    assert at > warmup
    while at < warmup + budget:
        later = next_look_s(at, warmup)
        assert later - warmup >= 1.2 * (at - warmup)
        at, looks = later, looks + 1
    assert looks <= 40


def test_enough_calm_values_are_enough_and_few_are_not() -> None:
    assert reached(CALM, NONE, Precision())
    assert not reached(CALM[:2000], NONE, Precision())
    assert not reached(NONE, NONE, Precision())


def test_what_is_asked_is_what_is_reached() -> None:
    ends = [round(1000 * 1.25**look) for look in range(17)]
    for precision in (Precision(), Precision(0.01, None), Precision(None, 0.05)):
        end = next(end for end in ends if reached(CALM[:end], NONE, precision))
        found = quantiles(CALM[:end], (0.5, 0.99))
        for q, width in ((0.5, precision.p50), (0.99, precision.p99)):
            if width is not None:
                answer = found[q]
                assert answer.high - answer.low <= 2 * width * answer.value  # type: ignore[union-attr,operator]


def test_nothing_asked_is_never_reached() -> None:
    assert not reached(CALM, NONE, Precision(None, None))


def test_each_quantile_can_be_asked_alone() -> None:
    assert reached(CALM[:1500], NONE, Precision(0.05, None))
    assert not reached(CALM[:1500], NONE, Precision(0.05, 0.10))


def test_a_drifting_cell_is_never_known() -> None:
    assert not reached((CALM * np.linspace(1.0, 1.5, len(CALM))).astype(np.int64), NONE, Precision())


def test_a_warm_up_is_cut_and_does_not_stand_in_the_way() -> None:
    slow = CALM.copy()
    slow[:2000] *= 5
    assert reached(slow, NONE, Precision())


@given(seed=st.integers(0, 10_000), end=st.integers(700, 1200))
@example(seed=2783, end=816)  # where a warm-up was cut
def test_one_lucky_look_stops_nothing(seed: int, end: int) -> None:
    """Where measuring stops, the figures were as good a look earlier."""
    cell = np.random.default_rng(seed).permutation(CALM[:end])
    if reached(cell, NONE, Precision(0.05, None)):
        before = cell[: round(end / 1.25)]
        earlier = quantiles(before[warmup_cut(before, before=NONE).index :], (0.5,))[0.5]
        assert isinstance(earlier, Estimate)
        assert earlier.low is not None
        assert earlier.high is not None
        assert earlier.high - earlier.low <= 0.1 * earlier.value


@pytest.mark.parametrize(("case", "runs"), [(STOPPED[0], 200), (STOPPED[1], 400)], ids=["default", "wide"])
def test_intervals_at_the_stop_cover_as_often_as_they_say(case: Stopping, runs: int) -> None:
    """With 200 runs 95 % has a standard deviation of 1.5 points; `benchmarks/coverage` has the larger table."""
    tallies, _ = cover_stopping(case, np.random.default_rng(20261120), runs)
    for tally in tallies.values():
        assert 0.92 <= tally.coverage <= 0.98
        assert tally.refused == 0
