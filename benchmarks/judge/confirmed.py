"""Two tiers: history suspects, a re-run the same night decides, and only what it confirms is an alert."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from benchmarks.judge.fleet import SERIES_A_CELL, Fleet, cells_of, row_of
from benchmarks.judge.intervals import Share
from benchmarks.judge.noise import Noise
from benchmarks.judge.rerun import night_cost, rerun
from nightbench.judge.night import UNDECIDED, Seen, suspects_of
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Outcome, Verdict
from nightbench.record import JudgementRecord

__all__ = ["SIZES", "Confirmed", "run"]

SIZES = (0.05, 0.1, 0.2)
_NIGHTS, _JUDGED_FROM = 100, 40
_LOOK_FOR = 14
"""Nights from a step on in which it is looked for; all steps have as many before the end."""
_STEPPED = 0.02
"""Of the fleet, by each size: a fleet of 2,000 has a new step, of one cell, almost every night, which the budget has to
serve beside what is false."""


@dataclass(slots=True)
class Confirmed:
    """What came of it all."""

    stationary_nights: int = 0
    false: int = 0
    """Alerts of a confirmed regression where there is none."""
    unconfirmed: int = 0
    """Alerts of kind ``unconfirmed`` where there is none: firm, a discovery of the night, undecided by the re-run."""
    rerun: int = 0
    """Re-runs of stationary series."""
    waited: int = 0
    """Suspicions of all series for which there was no time."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Of the re-runs of stationary series."""
    cost: list[float] = field(default_factory=list)
    """Of each night, as a share of the night."""
    found: dict[float, list[int | None]] = field(default_factory=dict)
    """By the size of the step, after how many nights each was confirmed."""

    @property
    def false_share(self) -> Share:
        return Share(self.false, self.stationary_nights)

    @property
    def unconfirmed_share(self) -> Share:
        return Share(self.unconfirmed, self.stationary_nights)

    def by(self, size: float, nights: int) -> Share:
        cases = self.found[size]
        return Share(sum(each is not None and each <= nights for each in cases), len(cases))


def run(noise: Noise, seed: int, fleets: int, series: int, sigma: float) -> Confirmed:
    """``fleets`` fleets of ``series`` series, 60 nights judged of each; ``sigma`` is the noise of a pair."""
    result = Confirmed(found={size: [] for size in SIZES})
    for number in range(fleets):
        rng = np.random.default_rng([seed, number])
        _one(_fleet(noise, rng, series), rng, sigma, result)
    return result


def _fleet(noise: Noise, rng: np.random.Generator, series: int) -> Fleet:
    each = max(1, round(_STEPPED * series / SERIES_A_CELL)) * SERIES_A_CELL
    step_at, size = np.full(series, _NIGHTS), np.zeros(series)
    chosen = cells_of(rng, series, each * len(SIZES))
    nights = rng.integers(_JUDGED_FROM, _NIGHTS - _LOOK_FOR + 1, len(chosen) // SERIES_A_CELL)
    step_at[chosen] = np.repeat(nights, SERIES_A_CELL)
    size[chosen] = np.repeat(SIZES, each)
    return Fleet.draw(noise, rng, _NIGHTS, step_at, size)


def _one(fleet: Fleet, rng: np.random.Generator, sigma: float, result: Confirmed) -> None:
    past: dict[SeriesKey, JudgementRecord] = {}
    alerted: dict[SeriesKey, int] = {}
    undecided: set[SeriesKey] = set()
    for night in range(_JUDGED_FROM, _NIGHTS):
        seen = fleet.look(night, past, alerted)
        suspects = suspects_of(seen)
        outcomes, spent = rerun(fleet, night, suspects, rng, sigma)
        result.cost.append(spent / night_cost(fleet))
        result.waited += len(suspects) - len(outcomes)
        for each in seen:
            key, row = each.series.key, row_of(each.series.key)
            stationary = bool(night < fleet.step_at[row])
            outcome = outcomes.get(key)
            result.stationary_nights += stationary and key not in alerted
            if outcome is None:
                continue
            if stationary:
                result.rerun += 1
                result.outcomes[outcome] += 1
            if outcome is Outcome.CONFIRMED:
                result.false += stationary
                alerted[key] = night
            elif outcome is Outcome.UNCONFIRMABLE and each.discovery and key not in undecided:
                result.unconfirmed += stationary
                undecided.add(key)
            elif outcome is Outcome.REFUTED or each.verdict is Verdict.OK:
                past[key] = _judged(each, night, outcome)
    for row in np.flatnonzero(fleet.size > 0.0).tolist():
        at, began = alerted.get(fleet.key(row)), int(fleet.step_at[row])
        if at is None or at >= began:
            nights = None if at is None else at - began + 1
            result.found[float(fleet.size[row])].append(nights)


def _judged(seen: Seen, night: int, outcome: Outcome) -> JudgementRecord:
    """As `nightbench.judge.settle` has it: refuted, or looked into in vain."""
    key = seen.series.key
    by, detail = ("simulated", "") if outcome is Outcome.REFUTED else (None, UNDECIDED)
    return JudgementRecord(str(night), key.suite, key.fingerprint, key.metric, Verdict.OK, detail, seen.change, by)
