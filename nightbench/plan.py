"""A suite expanded into what will be done, in the order it will be done.

Rounds are the outer loop, and each deploys every server afresh in an order shuffled from the seed: the spread
between independent starts is usually larger than the spread within one, and a machine that drifts during a
night must not favour whoever comes first. The plan is a pure function of the suite and the seed, so a killed
run finds its remaining cells by expanding it again.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from nightbench.load import Goal, Load, PeakShare, Search, identity
from nightbench.model import Format, Precision
from nightbench.server import OptionValue, Protocol

__all__ = [
    "TYPICAL_STEPS",
    "Cell",
    "Export",
    "Plan",
    "Point",
    "Replicate",
    "Setup",
    "expand",
    "is_peak_of",
    "remaining",
]

Point = tuple[Protocol, int, Load]
"""A cell of a setup, apart from rounds: protocol, batch size, load."""

TYPICAL_STEPS = 10
"""Loads that a search tries as a rule (`nightbench.search`): a peak near 16 in flight takes seven doublings and some
refining, a rate between two others about as many. Each takes as long as a cell."""


@dataclass(frozen=True, slots=True)
class Export:
    """A model that must exist as a file before some server can start."""

    model: str
    format: Format
    precision: Precision
    weights: str


@dataclass(frozen=True, slots=True)
class Setup:
    """One server set up in one way for one model: what is deployed afresh in every round."""

    server: str
    export: Export
    options: tuple[tuple[str, OptionValue], ...]
    """Sorted by name, defaults included."""

    @property
    def options_map(self) -> dict[str, OptionValue]:
        return dict(self.options)


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of a sweep in one round."""

    cell_id: str
    """``<key>.r<round>``: the key is the same in every round and in every run of the suite."""
    setup: Setup
    protocol: Protocol
    batch: int
    load: Load

    @property
    def key(self) -> str:
        return self.cell_id.partition(".")[0]

    @property
    def round(self) -> int:
        return int(self.cell_id.rpartition(".r")[2])

    @property
    def point(self) -> Point:
        """What it is apart from its setup and round."""
        return self.protocol, self.batch, self.load

    @property
    def label(self) -> str:
        return f"{self.setup.server} {self.setup.export.model} b{self.batch} {self.protocol} {self.load.label}"


@dataclass(frozen=True, slots=True)
class Replicate:
    """One deployment of one setup, and the cells measured on it."""

    deployment_id: str
    round: int
    setup: Setup
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole night, in order."""

    rounds: int
    exports: tuple[Export, ...]
    replicates: tuple[Replicate, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for replicate in self.replicates for cell in replicate.cells)

    def estimate_s(self, cell_s: float, start_estimates_s: Mapping[str, float]) -> float:
        """A rough duration: every cell's window, `TYPICAL_STEPS` of them a search, and every server's typical start."""
        starts_s = sum(start_estimates_s[replicate.setup.server] for replicate in self.replicates)
        windows = sum(TYPICAL_STEPS if isinstance(cell.load, Search) else 1 for cell in self.cells)
        return starts_s + cell_s * windows


def cell_key(setup: Setup, protocol: Protocol, batch: int, load: Load) -> str:
    """A short stable name for one cell of a suite, independent of round, seed and run."""
    # Not its label, which rounds: two rates that read alike are still two loads.
    parts = [
        setup.server,
        setup.export.model,
        setup.export.format,
        setup.export.precision,
        setup.export.weights,
        list(setup.options),
        protocol,
        batch,
        identity(load),
    ]
    return sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()[:12]


def is_peak_of(search: Point, share: Point) -> bool:
    """Whether ``search`` finds the peak, on the same deployment, that ``share`` takes its rate from."""
    goal = search[2].goal if isinstance(search[2], Search) else None
    return goal is Goal.PEAK and isinstance(share[2], PeakShare) and search[:2] == share[:2]


def _peaks_first(points: list[Point]) -> None:
    """Let each search for a peak change places with the first cell that waits for it; no other moves."""
    for at, search in enumerate(points):
        waiting = next((place for place in range(at) if is_peak_of(search, points[place])), None)
        if waiting is not None:
            points[at], points[waiting] = points[waiting], search


def expand(sweeps: Mapping[Setup, Collection[Point]], rounds: int, seed: int) -> Plan:
    """Lay out ``rounds`` rounds of ``sweeps``; the order within each round comes from ``seed`` alone.

    Within a deployment a peak is searched for before the cells whose rate is a share of it.
    """
    random = Random(seed)  # noqa: S311 - a shuffle that must be repeatable, not secret
    exports = tuple(dict.fromkeys(setup.export for setup in sweeps))
    replicates: list[Replicate] = []
    for number in range(1, rounds + 1):
        setups = list(sweeps)
        random.shuffle(setups)
        for setup in setups:
            points = list(sweeps[setup])
            random.shuffle(points)
            _peaks_first(points)
            cells = tuple(
                Cell(f"{cell_key(setup, *point)}.r{number}", setup, point[0], point[1], point[2]) for point in points
            )
            name = sha256(repr((setup, number)).encode()).hexdigest()[:6]
            replicates.append(Replicate(f"{setup.server}-r{number}-{name}", number, setup, cells))
    return Plan(rounds, exports, tuple(replicates))


def remaining(plan: Plan, done: Collection[str]) -> Plan:
    """The plan without the cells in ``done``; a deployment with nothing left to measure is left out."""
    done = frozenset(done)
    replicates = []
    for replicate in plan.replicates:
        cells = tuple(cell for cell in replicate.cells if cell.cell_id not in done)
        if cells:
            replicates.append(replace(replicate, cells=cells))
    needed = {replicate.setup.export for replicate in replicates}
    exports = tuple(export for export in plan.exports if export in needed)
    return Plan(plan.rounds, exports, tuple(replicates))
