"""How often a rule rings for nothing, and how soon for something: the same count for every rule.

A rule says of each night of a series whether it fires, and which way. An *alarm* is a night that fires when none of the
14 before did: a rule that keeps on saying the same raises one alarm. Nothing is re-based after an alarm, for any rule.
"""

import statistics
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.intervals import Share
from benchmarks.judge.noise import Noise

__all__ = [
    "NIGHTS",
    "STEP_AT",
    "WITHIN",
    "Found",
    "Rule",
    "Steps",
    "false_alarms",
    "found",
    "measure",
    "stepped",
    "young",
]

NIGHTS = 120
JUDGED_FROM = 40
"""The first night counted, from 0: every rule has all the history that it wants by then."""
_YOUNG = range(10, JUDGED_FROM)
"""Nights on which most rules are silent yet, and ours is not."""
QUIET = 14
STEP_AT = 60
WITHIN = (1, 2, 3, 7, 14)

Fired = NDArray[np.int8]
"""Shape (series, nights): 1 where the level is said to have risen, -1 fallen, 0 silence."""


class Rule(Protocol):
    """Judges online: what it says of a night it knows from that night and the earlier ones."""

    @property
    def name(self) -> str: ...
    @property
    def series(self) -> int:
        """How many series to give it at most: what is slow is measured on fewer."""

    def fires(self, values: NDArray[np.float64], nights: range) -> Fired:
        """``values`` are positive, of shape (series, nights); the answer has a column for each of ``nights``."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of one size: how many of how many are found by when, and after how many nights the median one."""

    by: dict[int, Share]
    median: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """What one rule does in one noise."""

    false: Share
    """Alarms among stationary series-nights, of either direction."""
    worse: Share
    """Those of one direction only: of a figure that has a worse one, the half that would be suspicions."""
    steps: dict[float, Steps]


def false_alarms(fired: Fired) -> tuple[Share, Share]:
    """Alarms of either direction, and of upward ones, among all the nights."""
    either, upwards = (Share(int(_alarms(each).sum()), fired.size) for each in (fired != 0, fired > 0))
    return either, upwards


def _alarms(fires: NDArray[np.bool_]) -> NDArray[np.bool_]:
    seen = np.zeros((fires.shape[0], fires.shape[1] + 1), dtype=np.int64)
    seen[:, 1:] = np.cumsum(fires, axis=1)
    nights = np.arange(fires.shape[1])
    silent: NDArray[np.bool_] = seen[:, nights] == seen[:, np.maximum(nights - QUIET, 0)]
    return fires & silent


def found(fired: Fired, sign: NDArray[np.int8]) -> Steps:
    """Of ``fired`` on the `QUIET` nights before the step and all after it. A series that already rang is no case."""
    before, after = fired[:, :QUIET], fired[:, QUIET:]
    cases = after[(before == 0).all(axis=1)] == sign[(before == 0).all(axis=1), None]
    ever = cases.any(axis=1)
    nights = np.where(ever, cases.argmax(axis=1) + 1, 10**6)
    by = {within: Share(int((nights <= within).sum()), len(nights)) for within in WITHIN}
    median = statistics.median(nights.tolist()) if len(nights) else 10**6
    return Steps(by, float(median) if median <= WITHIN[-1] else None)


def stepped(
    noise: Noise, rng: np.random.Generator, series: int, size: float
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Series whose level changes by ``size`` at `STEP_AT`: every other one rises to 1 + size, the rest fall to
    1 - size; and which way each went."""
    values = noise.draw(rng, series, STEP_AT + WITHIN[-1])
    sign = np.where(np.arange(series) % 2, 1, -1).astype(np.int8)
    values[:, STEP_AT:] *= 1.0 + size * sign[:, None]
    return values, sign


def measure(rule: Rule, noise: Noise, seed: int, series: int, sizes: tuple[float, ...]) -> Found:
    """The rule in the noise, the same series for every rule as far as they go."""
    count = min(series, rule.series)
    quiet = noise.draw(np.random.default_rng([seed, 0]), series, NIGHTS)[:count]
    either, one_way = false_alarms(rule.fires(quiet, range(JUDGED_FROM, NIGHTS)))
    steps = {}
    for number, size in enumerate(sizes, 1):
        values, sign = stepped(noise, np.random.default_rng([seed, number]), series, size)
        fired = rule.fires(values[:count], range(STEP_AT - QUIET, STEP_AT + WITHIN[-1]))
        steps[size] = found(fired, sign[:count])
    return Found(either, one_way, steps)


def young(rule: Rule, noise: Noise, seed: int, series: int) -> Share:
    """Alarms, of either direction, while a series is young: from its eleventh night on, up to where others begin."""
    quiet = noise.draw(np.random.default_rng([seed, 0]), series, _YOUNG.stop)[: rule.series]
    return false_alarms(rule.fires(quiet, _YOUNG))[0]
