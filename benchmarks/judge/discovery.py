"""One night of many series, a few of which truly stepped: how much of what is alerted is false."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.judge.fleet import Fleet, cells_of, row_of
from benchmarks.judge.intervals import Share
from benchmarks.judge.noise import Noise
from benchmarks.judge.ours import POLICY
from benchmarks.judge.rerun import rerun
from nightbench.judge.discoveries import discoveries
from nightbench.judge.night import Seen, suspects_of
from nightbench.judge.verdict import Outcome

__all__ = ["AGES", "METHODS", "Alerted", "benjamini_hochberg", "run"]

AGES = (1, 2, 3, 5)
"""Nights that a step has lasted, tonight included."""
METHODS = ("Benjamini-Hochberg", "Benjamini-Yekutieli", "BY and firm", "firm", "two tiers")
_TONIGHT = 74
_SIZE = 0.1


@dataclass(slots=True)
class Alerted:
    """What one method alerted over several nights."""

    true: int = 0
    false: int = 0
    stepped: int = 0

    def add(self, rows: Sequence[int], stepped: frozenset[int]) -> None:
        true = len(stepped.intersection(rows))
        self.true += true
        self.false += len(rows) - true
        self.stepped += len(stepped)

    @property
    def power(self) -> Share:
        return Share(self.true, self.stepped)

    @property
    def falsehood(self) -> Share:
        """False among all that was alerted, the nights taken together."""
        return Share(self.false, self.true + self.false)


def run(noise: Noise, seed: int, nights: int, series: int, stepped: int, sigma: float) -> dict[int, dict[str, Alerted]]:
    """By age and method: ``nights`` independent nights of ``series`` series, ``stepped`` of them 10 % worse."""
    found = {age: {method: Alerted() for method in METHODS} for age in AGES}
    for number in range(nights):
        for age in AGES:
            rng = np.random.default_rng([seed, number, age])
            step_at, size = np.full(series, _TONIGHT + 1), np.zeros(series)
            rows = cells_of(rng, series, stepped)
            step_at[rows], size[rows] = _TONIGHT + 1 - age, _SIZE
            fleet = Fleet.draw(noise, rng, _TONIGHT + 1, step_at, size)
            for method, alerted in _alerted(fleet, rng, sigma).items():
                found[age][method].add(alerted, frozenset(rows.tolist()))
    return found


def _alerted(fleet: Fleet, rng: np.random.Generator, sigma: float) -> dict[str, list[int]]:
    """Rows by method. All but the last go by history alone."""
    seen = fleet.look(_TONIGHT, {})
    p_values = [1.0 if each.change is None else each.change.p_value for each in seen]
    outcomes, _ = rerun(fleet, _TONIGHT, suspects_of(seen), rng, sigma)

    def worse(chosen: Sequence[bool]) -> list[int]:
        return [row_of(each.series.key) for each, yes in zip(seen, chosen, strict=True) if yes and each.worse]

    rate = POLICY.false_discovery_rate
    return dict(
        zip(
            METHODS,
            (
                worse(benjamini_hochberg(p_values, rate)),
                worse(discoveries(p_values, rate)),
                worse([each.discovery for each in seen]),
                worse([_firm(each) for each in seen]),
                [row_of(key) for key, outcome in outcomes.items() if outcome is Outcome.CONFIRMED],
            ),
            strict=True,
        )
    )


def _firm(seen: Seen) -> bool:
    return seen.change is not None and seen.change.firm


def benjamini_hochberg(p_values: Sequence[float], rate: float) -> list[bool]:
    """JRSS B 57 (1995)."""
    values = np.array(p_values)
    ordered = np.sort(values)
    kept = np.flatnonzero(ordered <= rate * np.arange(1, len(values) + 1) / len(values))
    limit = ordered[kept[-1]] if len(kept) else -1.0
    return [bool(value <= limit) for value in values]
