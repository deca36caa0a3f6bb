"""The history rule: steps are found and located, noise is not, and nothing irrelevant matters."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.judge.policy import ConfirmPolicy, JudgePolicy
from nightbench.judge.rule import anchor_of, level_of, suspect
from nightbench.judge.series import Direction, Point
from nightbench.judge.verdict import Change

POLICY = JudgePolicy()
ANY = POLICY.model_copy(update={"confirm": ConfirmPolicy(watch_p=0.99)})
"""Says something of most nights: for properties that must hold whatever the answer is."""
EFFECT = 0.03

Values = NDArray[np.float64]


def points(values: Values | list[float], relative: float | None = None) -> list[Point]:
    if relative is None:
        return [Point(str(night), float(value)) for night, value in enumerate(values)]
    return [
        Point(str(night), float(value), float(value) / (1 + relative), float(value) * (1 + relative))
        for night, value in enumerate(values)
    ]


def judged(values: Values | list[float], direction: Direction = Direction.HIGHER, **more: object) -> Change | None:
    return suspect(points(values), direction, EFFECT, POLICY, **more)  # type: ignore[arg-type]


def noisy(seed: int, nights: int, sigma: float = 0.02) -> Values:
    return np.asarray(100.0 * np.exp(sigma * np.random.default_rng(seed).standard_normal(nights)))


SERIES = st.builds(
    lambda seed, nights, sigma, at, step: np.concatenate(
        [noisy(seed, nights, sigma)[:at], noisy(seed, nights, sigma)[at:] * step]
    ),
    st.integers(0, 10**6),
    st.integers(11, 90),
    st.sampled_from([0.0, 0.005, 0.03, 0.2]),
    st.integers(1, 89),
    st.sampled_from([0.7, 0.9, 1.0, 1.05, 1.3]),
)


def same(one: Change | None, other: Change | None, scale: float = 1.0) -> None:
    assert (one is None) == (other is None)
    if one is None or other is None:
        return
    assert (one.since, one.last_before, one.nights, one.firm) == (
        other.since,
        other.last_before,
        other.nights,
        other.firm,
    )
    assert other.p_value == pytest.approx(one.p_value, rel=1e-6)
    for mine, theirs in ((one.before, other.before), (one.after, other.after)):
        assert mine.low is not None
        assert mine.high is not None
        wanted = (mine.value * scale, mine.low * scale, mine.high * scale)
        assert (theirs.value, theirs.low, theirs.high) == pytest.approx(wanted, rel=1e-9)


@given(SERIES, st.sampled_from([1e-9, 1024.0, 1e12]))
def test_the_unit_changes_nothing_but_the_levels(values: Values, scale: float) -> None:
    one = suspect(points(values), Direction.HIGHER, EFFECT, ANY)
    same(one, suspect(points(values * scale), Direction.HIGHER, EFFECT, ANY), scale)


@given(SERIES)
def test_a_rate_and_its_reciprocal_are_judged_alike(values: Values) -> None:
    rate = suspect(points(values), Direction.HIGHER, EFFECT, ANY)
    duration = suspect(points(1.0 / values), Direction.LOWER, EFFECT, ANY)
    assert (rate is None) == (duration is None)
    if rate is not None and duration is not None:
        assert (rate.since, rate.firm) == (duration.since, duration.firm)
        assert rate.worse(Direction.HIGHER) == duration.worse(Direction.LOWER)
        assert duration.p_value == pytest.approx(rate.p_value, rel=1e-6)
        assert duration.ratio == pytest.approx(1.0 / rate.ratio)


@given(SERIES, st.lists(st.tuples(st.integers(0, 89), st.floats(1e-3, 1e9)), max_size=20))
def test_doubted_nights_are_as_if_they_had_never_been(values: Values, doubted: list[tuple[int, float]]) -> None:
    known = points(values)
    mixed = list(known)
    for number, (at, value) in enumerate(doubted):
        mixed.insert(min(at, len(mixed) - 1), Point(f"doubted {number}", value, doubted=True))
    same(suspect(known, Direction.LOWER, EFFECT, ANY), suspect(mixed, Direction.LOWER, EFFECT, ANY))
    assert anchor_of(known, POLICY) == anchor_of(mixed, POLICY)
    assert level_of(known, POLICY) == level_of(mixed, POLICY)


@given(SERIES)
def test_the_way_that_time_runs_through_the_baseline_does_not_matter(values: Values) -> None:
    if len(values) < 42:
        values = np.concatenate([noisy(3, 42 - len(values)), values])
    base = len(values) - POLICY.window_nights
    turned = np.concatenate([values[:base][::-1], values[base:]])[-74:]
    one = suspect(points(values[-74:]), Direction.HIGHER, EFFECT, ANY)
    if len(values) <= 74 and one is not None:
        other = suspect(points(turned), Direction.HIGHER, EFFECT, ANY)
        assert other is not None
        assert other.p_value == pytest.approx(one.p_value, rel=1e-6)
        assert (other.nights, other.firm) == (one.nights, one.firm)


@given(SERIES)
def test_what_is_said_is_in_order(values: Values) -> None:
    change = suspect(points(values), Direction.HIGHER, EFFECT, ANY)
    if change is None:
        return
    assert int(change.since) == len(values) - change.nights
    assert int(change.last_before) == int(change.since) - 1
    assert 1 <= change.nights <= POLICY.window_nights
    assert 0.0 <= change.p_value <= ANY.confirm.watch_p
    assert not (change.firm and change.nights == 1)
    assert abs(math.log(change.ratio)) >= math.log1p(EFFECT) * (1 - 1e-9)
    for level in (change.before, change.after):
        assert level.low is not None
        assert level.high is not None
        assert level.low <= level.value <= level.high


@pytest.mark.parametrize("step", [0.8, 0.9, 1.1, 1.2])
@pytest.mark.parametrize("seed", range(4))
def test_a_step_is_watched_soon_firm_within_a_week_and_located(step: float, seed: int) -> None:
    values = noisy(seed, 82)
    values[75:] *= step
    nightly = [judged(values[: night + 1]) for night in range(75, 82)]
    assert nightly[1] is not None
    last = nightly[-1]
    assert last is not None
    assert last.firm
    assert (last.since, last.last_before) == ("75", "74")
    assert last.worse(Direction.HIGHER) == (step < 1)
    assert last.ratio == pytest.approx(step, rel=0.03)
    assert last.before.low is not None
    assert last.before.high is not None
    assert last.before.low < 100 < last.before.high
    assert last.p_value < 1e-5


def test_a_step_of_a_series_that_never_scattered_is_found() -> None:
    change = judged([100.0] * 40 + [90.0] * 4)
    assert change is not None
    assert change.firm
    assert change.since == "40"
    assert judged([100.0] * 60) is None


@given(st.integers(0, 10**6), st.floats(0.01, 100.0), st.integers(1, 14))
@settings(max_examples=200)
def test_one_wild_night_is_never_firm(seed: int, factor: float, ago: int) -> None:
    values = noisy(seed, 60, 0.01)
    values[-ago] = 100.0 * factor
    change = judged(values)
    assert change is None or not change.firm


def test_two_wild_nights_are_not_firm_and_five_are() -> None:
    values = noisy(8, 60, 0.01)
    for wild, firm in ((2, False), (5, True)):
        changed = values.copy()
        changed[-wild:] *= 3.0
        change = judged(changed)
        assert change is not None
        assert change.firm == firm
        assert change.nights == wild


def test_what_a_series_always_did_is_no_news() -> None:
    """Two modes 20 % apart, the rarer one night in five: a 20 % step for a series of one mode."""
    rng = np.random.default_rng(12)
    values = 100.0 * np.where(rng.random(70) < 0.2, 0.8, 1.0) * np.exp(0.005 * rng.standard_normal(70))
    values[-3:] = 80.0
    steady = 100.0 * np.exp(0.005 * rng.standard_normal(70))
    steady[-3:] = 80.0
    usual, new = judged(values), judged(steady)
    assert usual is None or not usual.firm
    assert new is not None
    assert new.p_value < 1e-3


def test_stationary_nights_are_quiet() -> None:
    """5,600 of them; seeded. `python -m benchmarks.judge` counts many more."""
    rng = np.random.default_rng(20)
    firm = watched = 0
    for series in range(80):
        sigma = 0.02 if series % 2 else 0.06
        draws = rng.standard_normal(110) if series % 4 < 2 else rng.standard_t(3, 110) / math.sqrt(3.0)
        known = points(100.0 * np.exp(sigma * draws))
        for night in range(40, 110):
            change = suspect(known[: night + 1], Direction.HIGHER, EFFECT, POLICY, anchor_of(known, POLICY))
            firm += change is not None and change.firm
            watched += change is not None
    assert firm <= 5
    assert watched <= 0.03 * 80 * 70


def test_changes_smaller_than_the_effect_are_none() -> None:
    values = noisy(4, 80, 0.002)
    values[70:] *= 0.98
    assert judged(values) is None
    assert suspect(points(values), Direction.HIGHER, 0.01, POLICY) is not None


def test_nights_that_are_uncertain_by_themselves_scatter_no_less() -> None:
    """A baseline that happens to agree to 0.1 % where each night is only known to 5 % shows no 4 % step."""
    values = noisy(5, 50, 0.001)
    values[-3:] *= 0.96
    sharp, blunt = (suspect(points(values, relative), Direction.HIGHER, EFFECT, ANY) for relative in (0.001, 0.05))
    assert sharp is not None
    assert blunt is None or blunt.p_value > 5 * sharp.p_value


def test_too_few_nights_say_nothing() -> None:
    assert judged([100.0] * (POLICY.min_nights - 1) + [10.0]) is None
    assert judged([100.0] * POLICY.min_nights + [10.0]) is not None
    assert judged([]) is None
    assert anchor_of(points([1.0] * 9), POLICY) is None
    assert level_of(points([1.0] * 9), POLICY) is None
    assert anchor_of(points([1.0] * 10), POLICY) == Estimate(1.0, 1.0, 1.0)


@pytest.mark.parametrize("tonight", [math.nan, math.inf, 0.0, -1.0])
def test_a_night_without_a_usable_figure_is_not_judged_nor_counted(tonight: float) -> None:
    values = [*noisy(6, 40).tolist(), 50.0, 50.0]
    assert judged([*values, tonight]) is None
    one, other = judged(values), judged([*values[:20], tonight, *values[20:]])
    assert one is not None
    assert other is not None
    assert (one.p_value, one.nights, one.before) == (other.p_value, other.nights, other.before)
    doubted = points(values)
    doubted[-1] = replace(doubted[-1], doubted=True)
    assert suspect(doubted, Direction.HIGHER, EFFECT, POLICY) is None


def test_the_anchor_is_of_the_first_nights_and_stays() -> None:
    values = noisy(7, 100)
    early = anchor_of(points(values[:12]), POLICY)
    assert early == anchor_of(points(values), POLICY)
    late = level_of(points(np.concatenate([values, 2 * values])), POLICY)
    assert late is not None
    assert late.value == pytest.approx(200.0, rel=0.02)


@pytest.mark.parametrize("direction", Direction)
def test_a_drift_to_worse_is_seen_against_the_anchor(direction: Direction) -> None:
    """0.12 % a night: no fortnight differs from the two months before by much."""
    worse = -1.0 if direction is Direction.HIGHER else 1.0
    values = noisy(9, 120, 0.01) * np.exp(worse * 0.0012 * np.maximum(0, np.arange(120) - 20))
    known = points(values)
    anchor = anchor_of(known, POLICY)
    change = suspect(known, direction, EFFECT, POLICY, anchor)
    assert change is not None
    assert change.firm
    assert change.worse(direction)
    assert change.before == anchor
    assert 40 <= int(change.since) <= 90
    assert int(change.last_before) == int(change.since) - 1
    better = Direction.LOWER if direction is Direction.HIGHER else Direction.HIGHER
    towards_better = suspect(known, better, EFFECT, POLICY, anchor)
    assert towards_better is None or not towards_better.worse(better)
