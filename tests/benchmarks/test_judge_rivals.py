"""The rules of others do what their sources say, and know nothing of the nights to come."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks.judge.counting import Rule
from benchmarks.judge.noise import SYNTHETIC
from benchmarks.judge.ours import History
from benchmarks.judge.rivals.cusum import CUSUM
from benchmarks.judge.rivals.mann_whitney import MANN_WHITNEY
from benchmarks.judge.rivals.medians import LAST_SEVEN, PYTORCH_HUD
from benchmarks.judge.rivals.perfherder import PERFHERDER, t_between

RULES = (History(), CUSUM, MANN_WHITNEY, PERFHERDER, PYTORCH_HUD, LAST_SEVEN)


def stepping(size: float, rows: int = 6, at: int = 60, nights: int = 80) -> NDArray[np.float64]:
    values = SYNTHETIC[0].draw(np.random.default_rng(11), rows, nights)
    values[:, at:] *= 1.0 + size
    return values


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_nobody_knows_the_nights_to_come(rule: Rule) -> None:
    values, nights = stepping(0.5), range(55, 76)
    fired = rule.fires(values, nights)
    assert fired.shape == (6, 21)
    changed = values.copy()
    changed[:, 70:] *= 3.0
    assert np.array_equal(fired[:, :15], rule.fires(changed, nights)[:, :15])
    assert np.array_equal(fired[2:4], rule.fires(values[2:4], nights))


@pytest.mark.parametrize("size", [0.5, -0.4])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_everybody_finds_a_large_step_the_right_way(rule: Rule, size: float) -> None:
    values = stepping(size)
    assert not rule.fires(values, range(50, 60)).any()
    fired = rule.fires(values, range(60, 80))
    assert (fired == math.copysign(1, size)).any(axis=1).all()
    assert not (fired == -math.copysign(1, size)).any()


def test_the_hud_waits_for_the_second_night_of_more_than_a_fifth() -> None:
    values = np.ones((2, 30))
    values[:, 20:] += [[0.25], [0.19]]
    # From the fifth night on most of the baseline's three are new ones.
    assert PYTORCH_HUD.fires(values, range(20, 26)).tolist() == [[0, 1, 1, 1, 0, 0], [0] * 6]


def test_perfherder_waits_for_twelve_nights_and_weighs_the_near_ones_more() -> None:
    values = stepping(0.1)
    fired = PERFHERDER.fires(values, range(60, 80))
    assert (fired.argmax(axis=1) >= 11).all()
    assert (fired.argmax(axis=1) <= 12).all()
    before, after = values[0, 36:60], values[0, 60:72]

    def side(near_first: list[float]) -> tuple[float, float, int]:
        n = len(near_first)
        weights = [(n - i) / n for i in range(n)]
        mean = sum(w * v for w, v in zip(weights, near_first, strict=True)) / sum(weights)
        return mean, sum((v - mean) ** 2 for v in near_first) / (n - 1), n

    (was, v0, n0), (now, v1, n1) = side(before[::-1].tolist()), side(after.tolist())

    assert t_between(values[:1, :72], 60)[0] == pytest.approx((now - was) / math.sqrt(v0 / n0 + v1 / n1))


def test_mann_whitney_is_exact() -> None:
    # All seven above all thirty: 2 of the 37-choose-7 orders are as extreme.
    assert stats.mannwhitneyu(range(30, 37), range(30), method="exact").pvalue == pytest.approx(2 / math.comb(37, 7))
    values = 1.0 + np.arange(37.0)[None] * 1e-3
    assert MANN_WHITNEY.fires(values, range(36, 37)).tolist() == [[0]]  # 1.9 %: no effect
    assert MANN_WHITNEY.fires(values**2, range(36, 37)).tolist() == [[1]]


def test_last_seven_looks_at_tonight_alone() -> None:
    values = np.ones((1, 20))
    values[0, 12] = 1.11
    assert LAST_SEVEN.fires(values, range(10, 16)).tolist() == [[0, 0, 1, 0, 0, 0]]
