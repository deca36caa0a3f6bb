"""Quantiles of clustered values: numpy's points, and intervals that hold the truth however alike a cluster is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.figures import Estimate
from nightbench.stats.clusters import clustered_quantiles
from nightbench.stats.quantiles import NotEnough, quantiles

CLUSTERS = st.lists(st.tuples(st.lists(st.integers(0, 50), max_size=30), st.integers(0, 20)), min_size=1, max_size=30)
LEVELS = (0.5, 0.9, 0.99)


def found(clusters: list[tuple[list[int], int]], levels: tuple[float, ...] = LEVELS) -> dict[float, object]:
    values = np.array([value for given_, _ in clusters for value in given_], np.int64)
    owner = np.repeat(np.arange(len(clusters)), [len(given_) for given_, _ in clusters])
    return dict(clustered_quantiles(values, owner, np.array([zeros for _, zeros in clusters], np.int64), levels))


@given(CLUSTERS)
def test_the_point_is_that_of_all_values_laid_out(clusters: list[tuple[list[int], int]]) -> None:
    everything = [value for given_, zeros in clusters for value in [*given_, *([0] * zeros)]]
    for q, answer in found(clusters).items():
        if isinstance(answer, NotEnough):
            assert answer.needed > 0
            assert answer.seen is None or answer.seen == pytest.approx(np.quantile(everything, q))
            continue
        assert isinstance(answer, Estimate)
        assert answer.value == pytest.approx(np.quantile(everything, q))
        assert answer.low is None or answer.low <= answer.value
        assert answer.high is None or answer.value <= answer.high


def test_clusters_of_one_value_are_what_values_are_without_clusters() -> None:
    values = np.random.default_rng(1).integers(0, 10**9, 5000)
    one_each = clustered_quantiles(values, np.arange(5000), np.zeros(5000, np.int64), LEVELS)
    plain = quantiles(values, LEVELS)
    for q in (0.5, 0.9):
        one, same = one_each[q], plain[q]
        assert isinstance(one, Estimate)
        assert isinstance(same, Estimate)
        assert (one.value, one.low, one.high) == pytest.approx((same.value, same.low, same.high))


def test_values_that_are_all_one_value_are_known_exactly() -> None:
    assert found([([7] * 40, 0)] * 30)[0.5] == Estimate(7.0, 7.0, 7.0)
    assert found([([], 40)] * 30)[0.5] == Estimate(0.0, 0.0, 0.0)


def test_few_clusters_are_refused_with_what_they_showed() -> None:
    """A thousand values of three answers say what three answers say."""
    rng = np.random.default_rng(2)
    clusters = [(rng.integers(level, level + 9, 300).tolist(), 0) for level in (100, 200, 300)]
    answer = found(clusters)[0.9]
    assert isinstance(answer, NotEnough)
    assert answer.needed > 900
    assert answer.seen is not None
    assert 300 <= answer.seen < 310


@pytest.mark.parametrize(("within", "spread"), [(1.0, 0.0), (0.3, 0.5)])
def test_nominal_95_percent_hold_the_truth(within: float, spread: float) -> None:
    """400 answers of 20 gaps, alike within an answer or not; what matters is that neither is taken for the other."""
    rng = np.random.default_rng(3)
    owner = np.repeat(np.arange(400), 20)
    z = np.hypot(within, spread)
    truth = {0.5: 1e6, 0.9: 1e6 * np.exp(1.2815515655446004 * z), 0.95: 1e6 * np.exp(1.6448536269514722 * z)}
    held = dict.fromkeys(truth, 0)
    for _ in range(300):
        logs = spread * rng.standard_normal(400)[owner] + within * rng.standard_normal(8000)
        answers = clustered_quantiles((1e6 * np.exp(logs)).astype(np.int64), owner, np.zeros(400, np.int64), truth)
        for q, answer in answers.items():
            assert isinstance(answer, Estimate)
            assert answer.low is not None
            assert answer.high is not None
            held[q] += answer.low <= truth[q] <= answer.high
    assert all(0.92 <= count / 300 <= 0.99 for count in held.values()), held


@pytest.mark.parametrize(("answers", "phi", "fewest"), [(320, 0.0, 150), (1600, 0.9, 0)])
def test_a_tail_that_clusters_is_held_or_refused(answers: int, phi: float, fewest: int) -> None:
    """Answers that are slow as a whole; and slow spells that neighbouring answers share, too few for a p99."""
    rng = np.random.default_rng(4)
    owner = np.repeat(np.arange(answers), 32)
    zeros = np.zeros(answers, np.int64)
    truth = 1e6 * np.exp(2.3263478740408408 * 0.5)
    held = accepted = 0
    weights = phi ** np.arange(200) * np.sqrt(1.0 - phi * phi)
    for _ in range(200):
        level = 0.4 * np.convolve(rng.standard_normal(answers + 199), weights, "valid")
        logs = level[owner] + 0.3 * rng.standard_normal(len(owner))
        answer = clustered_quantiles((1e6 * np.exp(logs)).astype(np.int64), owner, zeros, (0.99,))[0.99]
        if isinstance(answer, Estimate):
            accepted += 1
            held += (answer.low or 0.0) <= truth <= (answer.high or np.inf)
    assert held >= 0.92 * accepted
    assert accepted >= fewest
