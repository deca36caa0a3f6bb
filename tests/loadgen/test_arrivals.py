"""The schedule of an open loop: absolute, reproducible, and of the distribution it claims."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadgen.arrivals import offsets_ns
from nightbench.load import Arrival, OpenLoop


@given(
    rate=st.floats(0.1, 5000),
    duration=st.floats(0.01, 3),
    seed=st.integers(0, 2**32),
    arrival=st.sampled_from(list(Arrival)),
)
def test_offsets_are_sorted_inside_the_window_and_reproducible(
    rate: float, duration: float, seed: int, arrival: Arrival
) -> None:
    load = OpenLoop(rate, arrival)
    offsets = offsets_ns(load, duration, seed)
    assert offsets.dtype == np.int64
    assert (np.diff(offsets) >= 0).all()
    assert ((offsets >= 0) & (offsets < duration * 1e9)).all()
    assert (offsets == offsets_ns(load, duration, seed)).all()
    # Six standard deviations of a Poisson count, or the rounding of a constant one.
    expected = rate * duration
    assert abs(len(offsets) - expected) <= max(1.0, 6 * expected**0.5 + 6)


def test_constant_arrivals_do_not_drift() -> None:
    offsets = offsets_ns(OpenLoop(3.0, Arrival.CONSTANT), 1000.0, 0)
    assert len(offsets) == 3000
    assert offsets[2999] == int(2999 / 3 * 1e9)
    assert np.ptp(np.diff(offsets)) <= 1


def test_poisson_gaps_are_exponential_and_independent() -> None:
    offsets = offsets_ns(OpenLoop(2000.0), 20.0, 7)
    gaps = np.diff(offsets, prepend=0) / 1e9
    assert stats.kstest(gaps, "expon", args=(0, 1 / 2000.0)).pvalue > 0.01
    assert stats.spearmanr(gaps[:-1], gaps[1:]).pvalue > 0.01
    assert abs(len(offsets) - 40_000) < 4 * 40_000**0.5


def test_poisson_counts_have_the_variance_of_poisson() -> None:
    counts = [len(offsets_ns(OpenLoop(50.0), 1.0, seed)) for seed in range(400)]
    # (n - 1) s^2 / mean is chi-squared with n - 1 degrees of freedom.
    dispersion = float(np.var(counts, ddof=1) * (len(counts) - 1) / np.mean(counts))
    low, high = stats.chi2.interval(0.999, len(counts) - 1)
    assert low < dispersion < high


def test_seeds_differ() -> None:
    one, two = (offsets_ns(OpenLoop(100.0), 1.0, seed) for seed in (1, 2))
    assert one.tolist() != two.tolist()
