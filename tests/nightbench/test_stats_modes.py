"""Two modes are named where there are two, with their places, shares and order; one mode never is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.alarms import ONE_MODE, TWO_MODES, Draw, named
from nightbench.stats.modes import modes


def _cell(slow: NDArray[np.bool_], seed: int = 0) -> NDArray[np.int64]:
    """2 ms, or 5 ms where ``slow``, give or take a tenth."""
    noise = np.exp(0.1 * np.random.default_rng(seed).standard_normal(len(slow)))
    return (np.where(slow, 5e6, 2e6) * noise).astype(np.int64)


@pytest.mark.parametrize("draw", ONE_MODE.values(), ids=ONE_MODE.keys())
def test_one_mode_is_left_alone(draw: Draw) -> None:
    assert named(draw, range(40), 400) + named(draw, range(20), 4000) == 0


@pytest.mark.parametrize("draw", TWO_MODES.values(), ids=TWO_MODES.keys())
def test_two_modes_are_named(draw: Draw) -> None:
    assert named(draw, range(20), 5000) == 20


def test_places_and_shares() -> None:
    found = modes(_cell(np.random.default_rng(1).random(20_000) < 0.3))
    assert found is not None
    assert found.fast_ns == pytest.approx(2e6, rel=0.02)
    assert found.slow_ns == pytest.approx(5e6, rel=0.02)
    assert found.slow_share == pytest.approx(0.3, abs=0.02)
    assert found.detail.startswith("two modes: 70% of the latencies lie about 2 ms and 30% about 5")
    assert found.detail.endswith("mixed request by request")


def test_a_mode_that_comes_later_is_told_from_one_that_mixes() -> None:
    at = np.arange(10_000)
    later, earlier = modes(_cell(at > 6000)), modes(_cell(at < 6000))
    assert later is not None
    assert earlier is not None
    assert later.detail.endswith("the fast ones first and the slow ones later")
    assert earlier.detail.endswith("the slow ones first and the fast ones later")


def test_modes_that_take_turns() -> None:
    found = modes(_cell(np.arange(12_000) // 250 % 2 == 1))
    assert found is not None
    assert found.detail.endswith("in runs of about 250 requests")


def test_a_small_share_is_a_tail_and_no_mode() -> None:
    assert modes(_cell(np.random.default_rng(2).random(20_000) < 0.02)) is None


def test_places_too_near_to_matter_are_one() -> None:
    near = 1e6 * np.exp(0.002 * np.random.default_rng(3).standard_normal(20_000))
    near[::2] *= 1.03
    assert modes(near) is None


@pytest.mark.parametrize("values", [[], [5] * 1000, [1, 2] * 99, [0] * 1000, [1, 1000] * 500])
def test_too_few_and_too_equal(values: list[int]) -> None:
    assert modes(np.array(values, dtype=np.int64)) is None


@given(st.integers(0, 1000), st.floats(1e-3, 1e6))
def test_the_unit_does_not_matter(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    cell = _cell(random.random(2000) < random.uniform(0.02, 0.5), seed).astype(np.float64)
    plain, scaled = modes(cell), modes(cell * factor)
    assert (plain is None) == (scaled is None)
    if plain is not None and scaled is not None:
        assert scaled.fast_ns == pytest.approx(plain.fast_ns * factor)
        assert scaled.slow_share == plain.slow_share


@given(st.lists(st.integers(-(2**40), 2**40), min_size=200, max_size=400))
def test_any_values_are_judged(values: list[int]) -> None:
    modes(np.array(values, dtype=np.int64))
