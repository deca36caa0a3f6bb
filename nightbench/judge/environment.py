"""The machine changed, or the server? Canaries tell, and so does a fleet that moves as one.

A canary is fixed work that no server takes part in: the load engine against a server that does nothing, a matrix
product, a copy of memory. The *fleet* is one series more, made of all others: of each night, how far the middle server
was from where its series usually are. Both are read with the very rule that every series is read with.

The machine counts as changed when

- two canaries of one device moved the same way at the same time, each with a p-value of at most ``watch_p``: they are
  independent where nothing changed, and two of three agreed in none of 4,000 simulated nights; or the only canary of a
  device did with `_ALONE_P`. One of several is not enough: a memory copy that alone is slower may have made some
  servers slower, but not all, and the re-run says which;
- or the fleet did: more than half of the servers, two at least, are then slower (or faster) in more than half of their
  series. It takes `_ALONE_P`, which one night seldom gives; or that in more than half of the servers more than half of
  the series are found changed the same way, each with ``watch_p``: servers that nothing connects do not agree so.

What changed explains a series that moved the same way, at the same time, and not out of all proportion: a machine that
is 5 % slower does not make a server 40 % slower.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightbench.judge.policy import JudgePolicy
from nightbench.judge.rule import suspect
from nightbench.judge.series import Direction, Point
from nightbench.judge.verdict import Change

__all__ = ["FLEET", "Fleet", "Machine", "Move", "fleet_series", "machine_of", "slowdown"]

FLEET = "the servers together"
_ALONE_P = 1e-3
"""Where one series must do: as sure as a suspicion is (`nightbench.judge.rule`)."""
NEWS_NIGHTS = 3
"""After so many nights of it a change of the machine is no news any more."""
_APART_NIGHTS = 2
"""By so much the nights may differ at which two series are found to have moved together: a change of one or two noise
widths is located about as well as that, and doubted nights fall out of either."""
_OUT_OF_PROPORTION = 2.0
"""Servers feel a slower machine more or less than a canary does, but seldom twice as much."""
_NAMES = {
    "null_request": "the load generator's own processor time a request",
    "matrix_product": "a matrix product",
    "memory_copy": "a copy of memory",
    "gpu_matrix_product": "a matrix product on the GPU",
}

Name = tuple[str, str]
"""A canary and its device."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """One series as far as the fleet is concerned."""

    server: str
    direction: Direction
    points: tuple[Point, ...]
    change: Change | None = None
    """What its own history says of tonight."""


@dataclass(frozen=True, slots=True)
class Move:
    """One canary, or the fleet, that is not where it was."""

    what: str
    """In words."""
    device: str
    change: Change
    """Of a duration, or of something like one: a ratio above 1 is slower."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of the machine tonight."""

    moves: tuple[Move, ...] = ()
    """Those that say that it changed; empty where it did not."""
    order: Mapping[str, int] = field(default_factory=dict)
    """Nights by how many nights ago they were."""

    @property
    def changed(self) -> bool:
        return bool(self.moves)

    @property
    def by_canaries(self) -> "Machine":
        """What is known of it without the fleet."""
        return Machine(tuple(move for move in self.moves if move.what != FLEET), self.order)

    @property
    def news(self) -> bool:
        """Whether it changed lately: what lasts longer has become the baseline of all that moved with it."""
        return any(move.change.nights <= NEWS_NIGHTS for move in self.moves)

    @property
    def words(self) -> str:
        """``a matrix product 8.1 % slower, a copy of memory 7.6 % slower``."""
        return ", ".join(f"{move.what} {_percent(move.change.ratio)}" for move in self.moves)

    def explains(self, change: Change, direction: Direction, effect: float) -> bool:
        """Whether a series may have moved because the machine did."""
        size = slowdown(change, direction)
        return any(
            math.copysign(1.0, size) == math.copysign(1.0, math.log(move.change.ratio))
            and _together(change, move.change, self.order)
            and abs(size) <= _OUT_OF_PROPORTION * abs(math.log(move.change.ratio)) + effect
            for move in self.moves
        )


def slowdown(change: Change, direction: Direction) -> float:
    """Logarithm of how much slower the series is; negative where it is faster."""
    size = math.log(change.ratio)
    return size if direction is Direction.LOWER else -size


def machine_of(
    canaries: Mapping[Name, Sequence[Point]], series: Sequence[Fleet], policy: JudgePolicy, tonight: str
) -> Machine:
    """Read the canaries, of which more is slower, and the fleet. What has no point of ``tonight`` says nothing."""
    fleet = fleet_series(series, policy)
    order = _order([*([point.night for point in points] for points in (*canaries.values(), fleet)), [tonight]])
    found: list[Move] = []
    devices: defaultdict[str, list[tuple[Name, Sequence[Point]]]] = defaultdict(list)
    for name, points in canaries.items():
        if len(points) > policy.min_nights and points[-1].night == tonight:
            devices[name[1]].append((name, points))
    for device, known in devices.items():
        moves = [
            Move(_words(name), device, change)
            for name, points in known
            if (change := suspect(points, Direction.LOWER, policy.min_effect, policy)) is not None
        ]
        if len(known) == 1:
            found += [move for move in moves if _sure(move.change)]
        else:
            found += _agreeing(moves, order)
    whole = None
    if fleet and fleet[-1].night == tonight:
        whole = suspect(fleet, Direction.LOWER, policy.min_effect, policy)
    if whole is not None and (_sure(whole) or _agreed(series, policy, slower=whole.ratio > 1.0)):
        found.append(Move(FLEET, "", whole))
    return Machine(tuple(sorted(found, key=lambda move: -abs(math.log(move.change.ratio)))), order)


def fleet_series(series: Sequence[Fleet], policy: JudgePolicy) -> tuple[Point, ...]:
    """How much slower than usual the middle server was, night by night; 1 is as usual. Empty for a lone server.

    Of each series, the night's figure over the median of its nights, turned so that more is slower; of each server, the
    median of its series; of the servers, the middle one, and of an even number that of the two in the middle which
    moved less: so it takes more than half. A server counts once, however many series it has. Only series with
    enough nights are asked, and only nights that most of the servers have.
    """
    sound = [
        (each, known)
        for each in series
        if len(known := [point for point in each.points if not point.doubted]) > policy.min_nights
    ]
    order = _order([[point.night for point in known] for _, known in sound])
    names = sorted(order, key=lambda night: -order[night])
    column = {night: at for at, night in enumerate(names)}
    rows: defaultdict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for each, known in sound:
        row = np.full(len(names), math.nan)
        logs = np.log([point.value for point in known])
        row[[column[point.night] for point in known]] = logs - np.median(logs)
        rows[each.server].append(row if each.direction is Direction.LOWER else -row)
    if len(rows) < 2:
        return ()
    servers = np.array([_column_medians(np.array(of_server)) for of_server in rows.values()])
    points = []
    for at, night in enumerate(names):
        there = servers[np.isfinite(servers[:, at]), at]
        if 2 * len(there) > len(servers):
            points.append(Point(night, math.exp(_middle(there))))
    return tuple(points)


def _agreed(series: Sequence[Fleet], policy: JudgePolicy, *, slower: bool) -> bool:
    """Whether most series of most servers are found changed that way tonight."""
    servers: defaultdict[str, list[bool]] = defaultdict(list)
    for each in series:
        if each.points and not each.points[-1].doubted and len(each.points) > policy.min_nights:
            change = each.change
            servers[each.server].append(
                change is not None
                and (change.firm or change.p_value <= policy.confirm.watch_p)
                and (slowdown(change, each.direction) > 0.0) == slower
            )
    moved = sum(2 * sum(found) > len(found) for found in servers.values())
    return moved >= 2 and 2 * moved > len(servers)


def _column_medians(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where a column has nothing else; ``rows`` has one series a row."""
    ordered = np.sort(rows, axis=0)
    count = np.count_nonzero(np.isfinite(rows), axis=0)
    columns = np.arange(rows.shape[1])
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    middle = (ordered[low, columns] + ordered[np.minimum(high, len(rows) - 1), columns]) / 2.0
    return np.where(count > 0, middle, math.nan)


def _middle(values: NDArray[np.float64]) -> float:
    ordered = np.sort(values)
    low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return min(low, high, key=abs) if low * high > 0.0 else 0.0


def _order(sequences: Iterable[Sequence[str]]) -> dict[str, int]:
    """Nights by how many nights ago: as the sequence that knows the most nights since then says. All end tonight."""
    ago: dict[str, int] = {}
    for sequence in sequences:
        for distance, night in enumerate(reversed(sequence)):
            ago[night] = max(ago.get(night, 0), distance)
    return ago


def _agreeing(moves: Sequence[Move], order: Mapping[str, int]) -> list[Move]:
    """Those that another one moved with."""
    return [
        move
        for move in moves
        if any(
            other is not move
            and (other.change.ratio > 1.0) == (move.change.ratio > 1.0)
            and _together(move.change, other.change, order)
            for other in moves
        )
    ]


def _together(first: Change, second: Change, order: Mapping[str, int]) -> bool:
    if first.since not in order or second.since not in order:
        return abs(first.nights - second.nights) <= _APART_NIGHTS
    return abs(order[first.since] - order[second.since]) <= _APART_NIGHTS


def _sure(change: Change) -> bool:
    return change.firm or change.p_value <= _ALONE_P


def _words(name: Name) -> str:
    canary, device = name
    return _NAMES.get(canary, canary) + (f" {device.removeprefix('gpu')}" if device.startswith("gpu") else "")


def _percent(ratio: float) -> str:
    return f"{100.0 * abs(ratio - 1.0):.1f} % {'slower' if ratio > 1.0 else 'faster'}"
