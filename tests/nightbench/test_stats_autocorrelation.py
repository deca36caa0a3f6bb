"""The long-run variance against processes whose value is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from nightbench.stats.autocorrelation import long_run_variance


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8, 0.95])
def test_of_an_autoregression(phi: float) -> None:
    """An AR(1) with unit innovations has the long-run variance 1 / (1 - phi)^2."""
    rng = np.random.default_rng(1)
    rows = lfilter([1.0], [1.0, -phi], rng.standard_normal((40, 20_000)), axis=1)
    found = np.median([long_run_variance(row).variance for row in rows])
    assert found == pytest.approx(1.0 / (1.0 - phi) ** 2, rel=0.08)


def test_summing_blocks_of_a_long_sequence_changes_nothing_but_the_cost() -> None:
    rng = np.random.default_rng(2)
    row = lfilter([1.0], [1.0, -0.8], rng.standard_normal(400_000))
    assert long_run_variance(row).variance == pytest.approx(25.0, rel=0.1)


def test_negative_correlation_is_not_credited() -> None:
    alternating = np.tile([0.0, 1.0], 500)
    assert long_run_variance(alternating).variance >= alternating.var()


def test_degrees_of_freedom_fall_with_correlation() -> None:
    rng = np.random.default_rng(3)
    white = rng.standard_normal(2000)
    red = lfilter([1.0], [1.0, -0.95], white)
    assert long_run_variance(red).dof < long_run_variance(white).dof / 4


def test_degenerate_sequences() -> None:
    assert long_run_variance(np.ones(100)).variance == 0.0
    assert long_run_variance(np.array([1.0, 2.0])).variance == np.inf
    assert long_run_variance(np.array([])).variance == np.inf
