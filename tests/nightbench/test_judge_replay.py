"""Replaying: each night knows only what was known then, and a suspicion starts its series anew."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbench.judge.policy import JudgePolicy
from nightbench.judge.replay import Replayed, replay
from nightbench.judge.series import Direction, Point

POLICY = JudgePolicy()


def series(seed: int, nights: int, *steps: tuple[int, float], sigma: float = 0.015) -> list[Point]:
    values = 50.0 * np.exp(sigma * np.random.default_rng(seed).standard_normal(nights))
    for at, factor in steps:
        values[at:] *= factor
    return [Point(f"night {number}", float(value)) for number, value in enumerate(values)]


def replayed(points: list[Point], direction: Direction = Direction.HIGHER) -> Replayed:
    return replay("s", points, direction, POLICY.min_effect, POLICY)


@given(st.integers(0, 1000), st.integers(15, 70), st.sampled_from([0.8, 0.9, 1.2]), st.integers(12, 80))
@settings(max_examples=30)
def test_later_nights_change_nothing_of_what_was_said_before(seed: int, at: int, factor: float, cut: int) -> None:
    points = series(seed, 80, (at, factor))
    whole, part = replayed(points), replayed(points[:cut])
    known = {point.night for point in points[:cut]}
    assert part.raised == tuple(each for each in whole.raised if each.night in known)


def test_every_step_is_raised_once_and_located() -> None:
    points = series(3, 150, (50, 0.85), (90, 1.0 / 0.85), (120, 1.2))
    found = replayed(points).raised
    assert [(each.change.since, each.worse) for each in found] == [
        ("night 50", True),
        ("night 90", False),
        ("night 120", False),
    ]
    raised = [int(each.night.split()[1]) for each in found]
    assert all(0 < night - at <= 7 for night, at in zip(raised, (50, 90, 120), strict=True))


def test_the_direction_says_what_is_worse() -> None:
    points = series(4, 80, (50, 0.85))
    assert [each.worse for each in replayed(points, Direction.HIGHER).raised] == [True]
    assert [each.worse for each in replayed(points, Direction.LOWER).raised] == [False]


def test_a_drift_is_raised_although_no_night_is() -> None:
    rng = np.random.default_rng(5)
    values = 50.0 * np.exp(0.01 * rng.standard_normal(150) + 0.001 * np.maximum(0, np.arange(150) - 20))
    found = replayed([Point(str(number), float(value)) for number, value in enumerate(values)], Direction.LOWER).raised
    assert found
    assert all(each.worse for each in found)


def test_nights_that_cannot_be_judged_are_not_counted() -> None:
    points = [Point(str(number), 1.0, doubted=number % 2 == 0) for number in range(40)]
    found = replayed(points)
    assert found.nights == 40
    assert found.judged == 10
    assert replayed(points[:5]).judged == 0
    assert replayed([]) == Replayed("s", Direction.HIGHER, 0, 0, ())
