"""What judging costs: the pure part, without the database's reads."""

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.judge.fleet import Fleet
from benchmarks.judge.noise import Noise
from benchmarks.judge.ours import POLICY
from nightbench.judge.rule import suspect

__all__ = ["NIGHTS", "decision_ms", "night_s"]

NIGHTS = POLICY.baseline_nights + POLICY.window_nights


def decision_ms(noise: Noise, seed: int, series: int) -> list[float]:
    """Of each series' last night, one call of the rule."""
    took = []
    for each in _fleet(noise, seed, series).series(NIGHTS - 1):
        metric, points, anchor = each.key.metric, each.history.points, each.history.anchor
        began = time.perf_counter_ns()
        suspect(points, metric.direction, POLICY.min_effect, POLICY, anchor)
        took.append((time.perf_counter_ns() - began) * 1e-6)
    return took


def night_s(noise: Noise, seed: int, series: int, repetitions: int = 3) -> Iterator[float]:
    """All series of one night: every rule, and the false discoveries."""
    fleet = _fleet(noise, seed, series)
    for _ in range(repetitions):
        began = time.perf_counter_ns()
        fleet.look(NIGHTS - 1, {})
        yield (time.perf_counter_ns() - began) * 1e-9


def _fleet(noise: Noise, seed: int, series: int) -> Fleet:
    never, none = np.full(series, NIGHTS), np.zeros(series)
    return Fleet.draw(noise, np.random.default_rng(seed), NIGHTS, never, none)
