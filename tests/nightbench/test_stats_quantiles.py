"""Quantiles: known answers, properties, and refusal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nightbench.figures import Estimate
from nightbench.stats.quantiles import NotEnough, quantile, quantiles

values = arrays(np.int64, st.integers(0, 400), elements=st.integers(1, 10**12))
levels = st.floats(0.01, 0.99)


def _width(found: Estimate | NotEnough) -> float:
    assert isinstance(found, Estimate)
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


@given(values, levels)
def test_the_point_is_numpys_and_the_interval_holds_it(sample: np.ndarray, q: float) -> None:
    found = quantile(sample, q)
    if isinstance(found, NotEnough):
        assert found.needed > len(sample)
        return
    assert found.value == pytest.approx(float(np.quantile(sample, q)), rel=1e-12)
    assert found.low is None or sample.min() <= found.low <= found.value
    assert found.high is None or found.value <= found.high <= sample.max()


@given(values, levels, levels)
def test_monotone_in_the_level(sample: np.ndarray, p: float, q: float) -> None:
    found = quantiles(sample, (p, q))
    low, high = found[min(p, q)], found[max(p, q)]
    if isinstance(low, Estimate) and isinstance(high, Estimate):
        assert low.value <= high.value


@given(values, levels, st.sampled_from([0.001, 0.5, 8.0, 1e6]))
def test_scale_does_not_matter(sample: np.ndarray, q: float, factor: float) -> None:
    """Milliseconds or nanoseconds: the same samples bound the quantile."""
    plain, scaled = quantile(sample.astype(np.float64), q), quantile(sample * factor, q)
    if isinstance(plain, Estimate) and isinstance(scaled, Estimate):
        assert scaled.value == pytest.approx(plain.value * factor, rel=1e-9)
        assert (scaled.low is None) == (plain.low is None)
        if plain.low is not None and scaled.low is not None:
            assert scaled.low == pytest.approx(plain.low * factor, rel=1e-9)
    else:
        assert isinstance(plain, NotEnough)
        assert isinstance(scaled, NotEnough)
        assert scaled.needed == plain.needed
        assert scaled.seen == (None if plain.seen is None else pytest.approx(plain.seen * factor, rel=1e-9))


def test_independent_samples_get_the_ranks_of_the_textbook() -> None:
    """For n = 1000 the 95 % ranks of the median are 469 and 532 (Conover, "Practical Nonparametric Statistics")."""
    shuffled = np.random.default_rng(1).permuted(np.tile(np.arange(1.0, 1001), (200, 1)), axis=1)
    widths = sorted(_width(quantile(row, 0.5)) for row in shuffled)
    # The correlation found in shuffled values is chance: the median width is within a few ranks of theory.
    assert widths[0] == pytest.approx(62, abs=2)
    assert widths[100] == pytest.approx(63, abs=4)


def test_correlated_samples_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    fresh = rng.random(4000)
    held = np.repeat(rng.random(400), 10)
    narrow, wide = _width(quantile(fresh, 0.5)), _width(quantile(held, 0.5))
    assert 2.3 < wide / narrow < 4.5


def test_a_tail_without_samples_is_refused_with_the_number_needed() -> None:
    assert quantile(np.arange(100), 0.99) == NotEnough(500)
    assert quantile(np.arange(0), 0.5) == NotEnough(10)
    assert isinstance(quantile(np.random.default_rng(1).permutation(200), 0.95), Estimate)


def test_clusters_raise_the_number_needed() -> None:
    """A hundred spells of ten equal values hold a hundred opinions on p99, not a thousand."""
    held = np.repeat(np.random.default_rng(5).random(100), 10)
    found = quantile(held, 0.99)
    assert isinstance(found, NotEnough)
    assert 2500 < found.needed < 10_000


def test_a_bound_beyond_the_largest_sample_is_unknown() -> None:
    found = quantile(np.random.default_rng(2).permutation(130), 0.95, confidence=0.999)
    assert isinstance(found, Estimate)
    assert found.high is None
    assert found.low is not None


@pytest.mark.parametrize("n", [1, 2, 600])
def test_constant_values(n: int) -> None:
    for found in quantiles(np.full(n, 7), (0.5, 0.99)).values():
        assert found == Estimate(7.0, 7.0, 7.0) or (isinstance(found, NotEnough) and n < 500)


def test_ties_up_to_the_maximum() -> None:
    found = quantile(np.tile([1, 2, 2, 2], 200), 0.9)
    assert isinstance(found, Estimate)
    assert (found.value, found.high) == (2.0, 2.0)


def test_levels_outside_the_open_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="inside"):
        quantile(np.arange(100), 1.0)
    with pytest.raises(ValueError, match="inside"):
        quantile(np.arange(100), 0.5, confidence=1.0)
