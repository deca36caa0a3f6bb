"""Throughput and its interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nightbench.figures import Estimate
from nightbench.stats.rates import throughput

SECOND = 1_000_000_000


@given(arrays(np.int64, st.integers(0, 300), elements=st.integers(0, 12 * SECOND)))
def test_the_rate_is_events_over_time_inside_its_interval(done: np.ndarray) -> None:
    found = throughput(done, SECOND, 11 * SECOND)
    assert found.value == pytest.approx(np.count_nonzero((done >= SECOND) & (done < 11 * SECOND)) / 10)
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.low <= found.value <= found.high


def test_where_time_starts_does_not_matter() -> None:
    done = np.sort(np.random.default_rng(1).integers(0, 10 * SECOND, 2000))
    far = 10**18
    assert throughput(done + far, far, far + 10 * SECOND) == throughput(done, 0, 10 * SECOND)


def test_even_events_are_known_well_and_uneven_ones_less() -> None:
    even = np.arange(1000) * (10 * SECOND // 1000)
    bursts = np.repeat(np.arange(10) * SECOND, 100) + np.tile(np.arange(100) * SECOND // 1000, 10)
    tight, loose = throughput(even, 0, 10 * SECOND), throughput(bursts, 0, 10 * SECOND)
    assert tight.value == loose.value == 100.0
    assert tight.high is not None
    assert loose.high is not None
    assert tight.high - tight.value < 2.0 < loose.high - loose.value


def test_few_events_get_a_poisson_interval() -> None:
    assert throughput(np.array([1, 2, 3, 4]), 0, SECOND) == Estimate(
        4.0, pytest.approx(1.0899, abs=1e-4), pytest.approx(10.2416, abs=1e-4)
    )


def test_no_event_and_no_time() -> None:
    nothing = throughput(np.array([], dtype=np.int64), 0, SECOND)
    assert (nothing.value, nothing.low) == (0.0, 0.0)
    assert nothing.high == pytest.approx(3.6889, abs=1e-4)
    assert throughput(np.array([5]), 10, 10) == Estimate(0.0)


@pytest.mark.parametrize("clients", [1, 4, 64])
def test_clients_in_lockstep_are_known_by_their_rounds(clients: int) -> None:
    """Answers come once a second, all at one time: three seconds hold few windows and two exact rounds."""
    done = np.repeat(np.arange(4) * SECOND + SECOND // 2, clients)
    assert throughput(done, SECOND // 4, 4 * SECOND - 1, clients=clients) == Estimate(clients, clients, clients)
    plain = throughput(done, SECOND // 4, 4 * SECOND - 1)
    assert plain.high is not None
    assert plain.high > 1.3 * clients


def test_rounds_are_not_preferred_for_being_a_little_narrower() -> None:
    done = np.cumsum(np.random.default_rng(3).exponential(SECOND / 100, 2000)).astype(np.int64)
    assert throughput(done, 0, 10 * SECOND, clients=8) == throughput(done, 0, 10 * SECOND)
