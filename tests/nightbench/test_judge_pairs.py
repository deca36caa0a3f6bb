"""Deciding from pairs of fresh deployments."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nightbench.figures import Estimate
from nightbench.judge.pairs import Decision, Pair, _share, decide, looks
from nightbench.judge.policy import ConfirmPolicy
from nightbench.judge.series import Direction
from nightbench.judge.verdict import Change, Outcome

POLICY = ConfirmPolicy()
EFFECT = 0.03
SLOWER = Change("n3", "n2", 2, Estimate(100.0, 99.0, 101.0), Estimate(110.0, 108.0, 112.0), 1e-4, firm=True)
FEWER = Change("n3", "n2", 2, Estimate(100.0, 99.0, 101.0), Estimate(90.0, 88.0, 92.0), 1e-4, firm=True)


def of(ratios: Sequence[float], good: float = 100.0) -> list[Pair]:
    return [Pair(good, good * ratio) for ratio in ratios]


def at_last(ratios: Sequence[float], good: float = 100.0, effect: float = EFFECT) -> Decision:
    decision = decide(of(ratios, good), Direction.LOWER, effect, POLICY, SLOWER, last=True)
    assert decision is not None
    return decision


def night(draw: Callable[[], float], effect: float = EFFECT) -> Decision:
    """Pairs until there is a decision."""
    pairs: list[Pair] = []
    while True:
        pairs.append(Pair(100.0, 100.0 * math.exp(draw())))
        decision = decide(pairs, Direction.LOWER, effect, POLICY, SLOWER, last=False)
        if decision is not None:
            return decision


def test_whole_abba_blocks_are_looked_at_and_the_last_pair() -> None:
    assert looks(POLICY) == (4, 6, 8, 10)
    assert looks(ConfirmPolicy(min_pairs=3, max_pairs=7)) == (4, 6, 7)
    assert looks(ConfirmPolicy(min_pairs=5, max_pairs=5)) == (5,)


def test_a_clear_slowdown_is_confirmed_at_the_first_look() -> None:
    ratios = [1.101, 1.099, 1.102, 1.1]
    assert decide(of(ratios[:3]), Direction.LOWER, EFFECT, POLICY, SLOWER, last=False) is None
    decision = decide(of(ratios), Direction.LOWER, EFFECT, POLICY, SLOWER, last=False)
    assert decision is not None
    assert decision.outcome is Outcome.CONFIRMED
    assert decision.ratio.value == pytest.approx(1.1005, abs=1e-4)


def test_throughput_is_worse_when_it_is_less() -> None:
    pairs = of([0.9, 0.901, 0.899, 0.9])
    lower = decide(pairs, Direction.HIGHER, EFFECT, POLICY, FEWER, last=False)
    assert lower is not None
    assert lower.outcome is Outcome.CONFIRMED
    better = decide(pairs, Direction.LOWER, EFFECT, POLICY, SLOWER, last=False)
    assert better is not None
    assert better.outcome is Outcome.REFUTED


def test_equal_sides_refute_it() -> None:
    assert at_last([1.001, 0.999, 1.002, 0.998]).outcome is Outcome.REFUTED


def test_equal_sides_that_are_both_slow_are_the_environment() -> None:
    decision = at_last([1.001, 0.999, 1.002, 0.998], good=110.0)
    assert decision.outcome is Outcome.ENVIRONMENT
    assert "+10.0%" in decision.detail


def test_noisy_sides_that_are_both_slow_are_the_environment_once_the_change_is_ruled_out() -> None:
    noisy = [1.03, 0.97, 1.04, 0.96, 1.05, 0.95, 1.04, 0.96, 1.03, 0.97]
    assert at_last(noisy, good=110.0).outcome is Outcome.ENVIRONMENT
    # Beside a good side that is as it was, nothing half as large as what history shows is left.
    refuted = at_last(noisy)
    assert refuted.outcome is Outcome.REFUTED
    assert "not half of what history shows" in refuted.detail
    small = replace(SLOWER, after=Estimate(105.0))
    unsure = decide(of(noisy), Direction.LOWER, EFFECT, POLICY, small, last=True)
    assert unsure is not None
    assert unsure.outcome is Outcome.UNCONFIRMABLE


def watched(ratios: Sequence[float], good: float = 100.0) -> Decision | None:
    """Of a change that history is not sure of."""
    return decide(of(ratios, good), Direction.LOWER, EFFECT, POLICY, replace(SLOWER, firm=False), last=False)


def test_two_pairs_without_a_worse_one_are_enough_where_history_is_not_sure() -> None:
    ended = watched([0.97, 1.02])
    assert ended is not None
    assert ended.outcome is Outcome.UNCONFIRMABLE
    assert "no more were measured" in ended.detail
    assert watched([0.97, 1.04]) is None
    assert watched([0.97, 1.02], good=110.0) is None, "the machine may be the cause, which more pairs show"
    assert decide(of([0.97, 1.02]), Direction.LOWER, EFFECT, POLICY, SLOWER, last=False) is None, "it is firm"


def test_a_re_run_ends_once_it_can_hardly_confirm() -> None:
    ended = watched([1.03, 0.98, 0.97, 0.99])
    assert ended is not None
    assert ended.outcome is Outcome.UNCONFIRMABLE
    assert "10 pairs would hardly tell" in ended.detail
    assert watched([1.06, 1.0, 1.07, 1.05]) is None
    # The one pair that says otherwise may be a wild one.
    assert watched([1.1, 1.11, 1.09, 0.8]) is None


def test_giving_up_costs_little_of_what_is_there() -> None:
    """Of the same pairs, those of a firm change are never given up."""
    rng, lost, nights, short = np.random.default_rng(23), 0, 400, 0
    for true in (math.log(1.1), 0.0):
        for draws in rng.normal(true, 0.045, (nights, 10)):
            found = []
            for change in (SLOWER, replace(SLOWER, firm=False)):
                for count in range(1, 11):
                    decision = decide(of(np.exp(draws[:count])), Direction.LOWER, EFFECT, POLICY, change, last=False)
                    if decision is not None:
                        break
                assert decision is not None
                found.append((decision.outcome, count))
            (sure, _), (unsure, pairs) = found
            assert unsure is not Outcome.CONFIRMED or sure is Outcome.CONFIRMED, "giving up confirms nothing"
            lost += sure is Outcome.CONFIRMED and unsure is not Outcome.CONFIRMED
            short += true == 0.0 and pairs <= 4
    assert lost <= 0.02 * nights
    assert short >= 0.6 * nights


def test_a_true_change_that_is_no_news_is_not_confirmed() -> None:
    assert at_last([1.0101, 1.0099, 1.01, 1.0102]).outcome is Outcome.REFUTED


def test_deployments_that_differ_too_much_decide_nothing() -> None:
    decision = at_last([0.7, 1.4, 0.8, 1.3, 0.9, 1.2])
    assert decision.outcome is Outcome.UNCONFIRMABLE
    assert "neither" in decision.detail


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_pairs_are_no_decision(count: int) -> None:
    decision = at_last([1.5] * count)
    assert decision.outcome is Outcome.UNCONFIRMABLE
    assert decision.ratio.value == pytest.approx(1.5)
    assert decision.ratio.low is decision.ratio.high is None


def test_no_pair_at_all_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no pair"):
        decide([], Direction.LOWER, EFFECT, POLICY, SLOWER, last=True)


@pytest.mark.parametrize(("good", "tonight"), [(0.0, 1.0), (1.0, -1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_figures_that_have_no_ratio_are_refused(good: float, tonight: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Pair(good, tonight)


def test_one_look_of_few_pairs_is_the_paired_t_interval() -> None:
    once = ConfirmPolicy(min_pairs=6, max_pairs=6)
    rng = np.random.default_rng(6)
    good, tonight = rng.lognormal(4.6, 0.03, (2, 6))
    pairs = [Pair(float(a), float(b)) for a, b in zip(good, tonight, strict=True)]
    decision = decide(pairs, Direction.LOWER, EFFECT, once, SLOWER, last=False)
    expected = stats.ttest_rel(np.log(tonight), np.log(good)).confidence_interval(0.95)
    assert decision is not None
    assert decision.ratio.low == pytest.approx(math.exp(expected.low))
    assert decision.ratio.high == pytest.approx(math.exp(expected.high))


def test_one_wild_pair_hides_no_change_and_makes_none() -> None:
    quiet = [1.1, 1.11, 1.09, 1.1, 1.1, 1.11, 1.09]
    for wild in (0.5, 3.0):
        assert at_last([*quiet, wild]).outcome is Outcome.CONFIRMED
    for wild in (0.5, 3.0):
        assert at_last([1.0, 1.01, 0.99, 1.0, 1.0, 1.01, 0.99, wild]).outcome is not Outcome.CONFIRMED


ratios = st.lists(st.floats(0.2, 5.0), min_size=4, max_size=10)


@given(ratios, st.floats(1e-3, 1e9))
def test_units_are_nothing(values: list[float], unit: float) -> None:
    plain = at_last(values).ratio
    scaled = decide(
        [Pair(pair.good * unit, pair.tonight * unit) for pair in of(values)],
        Direction.LOWER,
        EFFECT,
        POLICY,
        SLOWER,
        last=True,
    )
    assert scaled is not None
    assert scaled.ratio.value == pytest.approx(plain.value)


@given(ratios, st.randoms(use_true_random=False))
def test_the_order_of_pairs_is_nothing(values: list[float], random: Random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    one, other = at_last(values), at_last(shuffled)
    assert one.outcome is other.outcome
    assert one.ratio.value == pytest.approx(other.ratio.value)


@given(ratios)
def test_both_directions_mirror_each_other(values: list[float]) -> None:
    """A rate that falls by a factor is as bad as a time that grows by it, the effect put on the same scale."""
    slower = at_last(values)
    fewer = decide(
        of([1.0 / each for each in values]), Direction.HIGHER, EFFECT / (1.0 + EFFECT), POLICY, FEWER, last=True
    )
    assert fewer is not None
    assert {slower.outcome, fewer.outcome} <= {Outcome.CONFIRMED, Outcome.REFUTED, Outcome.UNCONFIRMABLE}
    assert fewer.ratio.value == pytest.approx(1.0 / slower.ratio.value)
    assert (fewer.outcome is Outcome.CONFIRMED) == (slower.outcome is Outcome.CONFIRMED)


@given(ratios)
def test_what_is_confirmed_is_worse_by_the_effect_and_what_is_refuted_cannot_be(values: list[float]) -> None:
    decision = at_last(values)
    assert decision.ratio.low is not None
    assert decision.ratio.high is not None
    assert decision.ratio.low <= decision.ratio.value <= decision.ratio.high
    if decision.outcome is Outcome.CONFIRMED:
        assert decision.ratio.low > 1.0
        assert decision.ratio.value >= 1.0 + EFFECT
    if decision.outcome is Outcome.REFUTED:
        assert decision.ratio.high < max(1.0 + EFFECT, math.sqrt(SLOWER.ratio))


def modes(random: Random) -> Callable[[], float]:
    """Each deployment falls into one of two modes 10 % apart: the worst case for few pairs that agree by luck."""
    return lambda: (random.getrandbits(1) - random.getrandbits(1)) * 0.1 + random.gauss(0.0, 0.002)


def heavy(random: Random) -> Callable[[], float]:
    """Student's t with 3 degrees of freedom."""
    return lambda: 0.02 * random.gauss(0.0, 1.0) / math.sqrt(random.gammavariate(1.5, 2.0) / 3.0)


def gaussian(random: Random) -> Callable[[], float]:
    return lambda: random.gauss(0.0, 0.03)


@pytest.mark.parametrize("count", [4, 5, 6, 7, 8, 9])
def test_whatever_number_of_pairs_has_to_do_no_error_is_spent_twice(count: int) -> None:
    """All looks that there may have been, the last at a number that was looked at before among them."""
    planned = looks(POLICY)
    before = [_share(n, planned, last=False) for n in planned if n <= count]
    assert math.fsum([*before, _share(count, planned, last=True)]) == pytest.approx(1.0)
    assert math.fsum(_share(n, planned, last=n == planned[-1]) for n in planned) == pytest.approx(1.0)


@pytest.mark.parametrize("noise", [gaussian, heavy, modes])
def test_what_is_not_there_is_seldom_confirmed(noise: Callable[[Random], Callable[[], float]]) -> None:
    """Without the minimum effect, which only makes it more seldom; 4 standard errors above the bound allowed."""
    draw, nights = noise(Random(20)), 4000  # noqa: S311 - repeatable, not secret
    confirmed = sum(night(draw, effect=1e-9).outcome is Outcome.CONFIRMED for _ in range(nights))
    bound = POLICY.false_confirm_p * nights
    assert confirmed <= bound + 4.0 * math.sqrt(bound)


def test_a_slowdown_well_above_the_noise_is_found_and_seldom_refuted() -> None:
    random, nights = Random(21), 300  # noqa: S311 - repeatable, not secret
    outcomes = [night(lambda: math.log(1.1) + random.gauss(0.0, 0.03)).outcome for _ in range(nights)]
    assert outcomes.count(Outcome.CONFIRMED) >= 0.97 * nights
    assert outcomes.count(Outcome.REFUTED) <= 0.01 * nights


def test_the_reported_interval_covers_despite_the_looks() -> None:
    random, nights, true = Random(22), 1500, 1.05  # noqa: S311 - repeatable, not secret
    covered = 0
    for _ in range(nights):
        ratio = night(lambda: math.log(true) + random.gauss(0.0, 0.02)).ratio
        assert ratio.low is not None
        assert ratio.high is not None
        covered += ratio.low <= true <= ratio.high
    assert covered >= 0.95 * nights
