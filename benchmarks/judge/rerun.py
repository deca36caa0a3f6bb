"""Re-runs in simulation: pairs with the noise that was measured, decided by the real `nightbench.judge.pairs`.

**Noise of a pair.** Rounds of one cell in one night are fresh deployments minutes apart, as the two of a pair are. In a
night of the arena suite on the machine this is developed on (run 20261120-140937-arena-4ed8: 3 setups, 7 loads, 3
rounds of 15 s) the logarithms of the ratios of throughput of adjacent rounds, 42 of them, have a root mean square of
0.046 (p50: 0.046) and a kurtosis of 2.6: no tail beyond the normal one. So few would hardly show one, hence simulated
pairs have Student's t of four degrees of freedom scaled to that size. A night of cells as short as 2 s with other work
on the machine (20261120-151155-smoke-cd70) has 0.098 (20 ratios): the harder case.

**Cost.** In units of one cell's time. A deployment costs a start and its cells; in those two nights all but the cells'
own windows took 0.5 cells a deployment of 17 s cells, and 1.2 of 2.8 s cells: 1 here. A night deploys every setup
`ROUNDS` times with all its cells; one pair of a re-run is two deployments with only the cells under suspicion:

    night     = setups x 5 x (1 + 6)       35 a setup
    one pair  = 2 x (1 + cells)             4 for a lone cell, so 16 for the four pairs of a first look, 40 for all ten

so that 10 % of a night of 112 setups (2,016 series) is 392 units: 24 lone first looks. Suspects of one setup with the
same last good night share their deployments, and a series that is decided is measured no more.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.judge.fleet import CELLS_A_SETUP, SERIES_A_CELL, SHARED, Fleet, row_of
from benchmarks.judge.ours import POLICY
from nightbench.judge.night import Suspect
from nightbench.judge.pairs import Pair, decide
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Outcome

__all__ = ["PAIR_SIGMA", "PAIR_SIGMA_BUSY", "night_cost", "rerun"]

PAIR_SIGMA = 0.046
PAIR_SIGMA_BUSY = 0.098
_TAIL = 4.0
_START = 1.0
_ROUNDS = 5


@dataclass(slots=True)
class _Group:
    """What shares its deployments."""

    suspects: list[Suspect]
    pairs: dict[SeriesKey, list[Pair]]

    @property
    def pair_cost(self) -> float:
        cells = {row_of(suspect.key) // SERIES_A_CELL for suspect in self.suspects}
        return 2.0 * (_START + len(cells))


def night_cost(fleet: Fleet) -> float:
    """In cells."""
    return fleet.setups * _ROUNDS * (_START + CELLS_A_SETUP)


def rerun(
    fleet: Fleet, night: int, suspects: Sequence[Suspect], rng: np.random.Generator, sigma: float
) -> tuple[dict[SeriesKey, Outcome], float]:
    """What became of those for which there was time, the first ones first, and the time that it took.

    As `tasks.ab.confirm` does it: the first group has all the pairs it takes, another is begun if the budget has room
    for its first look, and has its last look when that is spent.
    """
    policy = POLICY.confirm
    budget, spent = policy.budget_share * night_cost(fleet), 0.0
    outcomes: dict[SeriesKey, Outcome] = {}
    for group in _groups(suspects):
        if spent and spent + policy.min_pairs * group.pair_cost > budget:
            continue
        first, measured = not spent, 0
        while group.suspects:
            spent += group.pair_cost
            measured += 1
            _measure(fleet, night, group, rng, sigma)
            room = first or measured < policy.min_pairs or spent < budget
            outcomes |= _decided(group, last=measured == policy.max_pairs or not room)
    return outcomes, spent


def _groups(suspects: Sequence[Suspect]) -> list[_Group]:
    together: defaultdict[tuple[int, str], list[Suspect]] = defaultdict(list)
    for suspect in suspects:
        setup = row_of(suspect.key) // (SERIES_A_CELL * CELLS_A_SETUP)
        together[setup, suspect.good_run_id].append(suspect)
    return [_Group(members, {each.key: [] for each in members}) for members in together.values()]


def _measure(fleet: Fleet, night: int, group: _Group, rng: np.random.Generator, sigma: float) -> None:
    """One more pair of each. Its noise, slower above 0, is that of the cell for most, and a slow mode is the
    deployment's."""
    share, size = fleet.modes
    mode = size * (float(rng.random() < share) - float(rng.random() < share))
    of_cell: dict[int, float] = {}
    for suspect in group.suspects:
        row = row_of(suspect.key)
        own, shared = sigma * rng.standard_t(_TAIL, 2) / math.sqrt(_TAIL / (_TAIL - 2.0))
        shared = of_cell.setdefault(row // SERIES_A_CELL, shared)
        noise = mode + (shared if rng.random() < math.sqrt(SHARED) else own)
        ratio = math.exp(fleet.truth(row, int(suspect.good_run_id), night) + fleet.sign(row) * noise)
        good = suspect.change.before.value
        group.pairs[suspect.key].append(Pair(good, good * ratio))


def _decided(group: _Group, *, last: bool) -> dict[SeriesKey, Outcome]:
    """Those that are now decided, which are measured no more."""
    found = {}
    for suspect in group.suspects:
        metric = suspect.key.metric
        pairs = group.pairs[suspect.key]
        decision = decide(pairs, metric.direction, POLICY.min_effect, POLICY.confirm, suspect.change, last=last)
        if decision is not None:
            found[suspect.key] = decision.outcome
    group.suspects = [suspect for suspect in group.suspects if suspect.key not in found]
    return found
