"""The scan's evidence against scipy's Cauchy density, written out."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from nightbench.judge.levels import Scatter
from nightbench.judge.scan import scan

EFFECT = 0.03


def by_hand(
    newest: NDArray[np.float64], base: NDArray[np.float64], noise: Scatter, nights: int, way: float, bound: float
) -> float:
    """Log evidence of the ``nights`` newest, one night and size at a time."""
    width = 1.5 * noise.bulk * len(base) ** -0.2

    def density(value: float) -> float:
        return float(np.mean(stats.cauchy.pdf(value, loc=base, scale=width)))

    lags = np.abs(np.subtract.outer(np.arange(nights), np.arange(nights)))
    discount = float((noise.memory**lags).sum()) / nights + nights / len(base) * float(noise.dependence(len(base)))
    total = 0.0
    for size, weight in ((5 / 3 * EFFECT, 0.04), (0.1, 0.64), (0.2, 0.29)):
        shift = way * math.log1p(size)
        gains = [math.log(density(value - shift) / density(value)) for value in newest[-nights:]]
        total += weight * math.exp(sum(min(bound, max(-4.0, gain)) for gain in gains) / discount)
    return math.log(total)


@pytest.mark.parametrize("memory", [0.0, 0.3])
def test_evidence_is_the_weighted_likelihood_ratio_of_the_newest_nights(memory: float) -> None:
    rng = np.random.default_rng(1)
    base, newest = 0.02 * rng.standard_normal(60), 0.02 * rng.standard_normal(5)
    newest[-3:] += 0.12
    noise = Scatter(60, 0.02, 0.018, memory)
    found = scan(newest, base, noise, EFFECT, 0.0)
    for nights in range(1, 6):
        for row, way in enumerate((1.0, -1.0)):
            assert found.bounded[row, nights - 1] == pytest.approx(by_hand(newest, base, noise, nights, way, 4.0))
            assert found.whole[row, nights - 1] == pytest.approx(by_hand(newest, base, noise, nights, way, math.inf))
    assert int(found.plain[0].argmax()) == 2
    assert (found.plain[1] < 0).all()


def test_what_is_far_beyond_all_sizes_is_evidence_too_but_one_night_of_it_is_not_much() -> None:
    base = 0.02 * np.random.default_rng(2).standard_normal(60)
    found = scan(np.full(5, -1.0), base, Scatter(60, 0.02, 0.02, 0.0), EFFECT, 0.0)
    assert found.bounded[1, 0] < 1.5
    assert found.whole[1, 0] > 3.0
    assert found.bounded[1, 4] > 10.0
    assert (found.whole[0] < 0).all()
