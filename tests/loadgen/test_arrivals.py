"""The schedule of an open loop: absolute, reproducible, and of the distribution it claims."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from loadgen.arrivals import offsets_ns
from nightbench.load import Arrival, OpenLoop


@given(
    rate=st.floats(0.1, 5000),
    duration=st.floats(0.01, 3),
    seed=st.integers(0, 2**32),
    arrival=st.sampled_from(list(Arrival)),
    burstiness=st.floats(0.1, 50),
    recorded=st.lists(st.floats(0, 1e6), min_size=2, max_size=20).map(sorted),
)
def test_offsets_are_sorted_inside_the_window_and_reproducible(
    rate: float, duration: float, seed: int, arrival: Arrival, burstiness: float, recorded: list[float]
) -> None:
    assume(recorded[0] < recorded[-1])
    trace = np.array(recorded) if arrival is Arrival.TRACE else None
    load = OpenLoop(rate, arrival, burstiness if arrival is Arrival.GAMMA else None)
    offsets = offsets_ns(load, duration, seed, trace)
    assert offsets.dtype == np.int64
    assert (np.diff(offsets) >= 0).all()
    assert ((offsets >= 0) & (offsets < duration * 1e9)).all()
    assert (offsets == offsets_ns(load, duration, seed, trace)).all()
    expected = rate * duration
    if arrival is Arrival.TRACE:
        # Whole cycles have the rate that was asked for.
        assert expected // len(recorded) <= (len(offsets) + 1) / len(recorded) <= expected // len(recorded) + 2
    else:
        # Eight standard deviations of a renewal process, or the rounding of a constant one.
        sigma = max(1.0, burstiness**-0.5) if arrival is Arrival.GAMMA else 1.0
        assert abs(len(offsets) - expected) <= 8 * sigma * expected**0.5 + 8 * sigma**2


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


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_gaps_have_the_shape_asked_for(burstiness: float) -> None:
    # Slow, for many gaps of short bursts are rounded to whole nanoseconds otherwise.
    gaps = np.diff(offsets_ns(OpenLoop(2.0, Arrival.GAMMA, burstiness), 20_000.0, 7)) / 1e9
    assert stats.kstest(gaps, "gamma", args=(burstiness, 0, 1 / (2.0 * burstiness))).pvalue > 0.01
    assert stats.spearmanr(gaps[:-1], gaps[1:]).pvalue > 0.01
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(burstiness**-0.5, rel=0.03)


def test_bursts_do_not_begin_with_the_run() -> None:
    """Short runs offer the rate as well: on average, 5 requests in each of their ten parts."""
    load = OpenLoop(100.0, Arrival.GAMMA, 0.2)
    offsets = np.concatenate([offsets_ns(load, 0.5, seed) for seed in range(4000)])
    counts, _ = np.histogram(offsets, bins=10, range=(0, 5e8))
    # Four standard deviations of a mean whose variance is at most that of the gaps.
    assert np.abs(counts / 4000 - 5.0).max() < 4 * (5.0 * 5.0 / 4000) ** 0.5


def test_a_trace_keeps_its_shape_and_takes_the_rate() -> None:
    recorded = np.array([10.0, 10.0, 11.0, 14.0, 16.0])  # a mean gap of 1.5 s
    offsets = offsets_ns(OpenLoop(2.0, Arrival.TRACE), 5.0, 0, recorded)
    assert offsets.tolist() == [round(at * 1e9) for at in np.array([0, 0, 1, 4, 6, 7.5, 7.5, 8.5, 11.5, 13.5]) / 3.0]


def test_what_a_distribution_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="burstiness"):
        offsets_ns(OpenLoop(1.0, Arrival.GAMMA), 1.0, 0)
    with pytest.raises(ValueError, match="trace"):
        offsets_ns(OpenLoop(1.0, Arrival.TRACE), 1.0, 0)
