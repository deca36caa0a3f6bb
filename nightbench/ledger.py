"""Where a night's time went, so that what nightbench itself costs is a figure and not a feeling."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from nightbench.plan import Plan

__all__ = ["Ledger", "own_share"]


def own_share(
    own_ns_per: Mapping[str, float], plan: Plan, cell_s: float, start_estimates_s: Mapping[str, float]
) -> float:
    """The share, from 0 to 1, that would be ours in a whole night of ``plan``.

    ``own_ns_per`` is our own time per ``cell`` and per ``deployment`` as some run measured it.
    """
    ours_ns = own_ns_per.get("cell", 0) * len(plan.cells) + own_ns_per.get("deployment", 0) * len(plan.replicates)
    return ours_ns / (ours_ns + plan.estimate_s(cell_s, start_estimates_s) * 1e9)


class Ledger:
    """Adds up time by name. Whatever no entry claims is ours.

    Entries must not overlap: each nanosecond belongs to one name.
    """

    def __init__(self, earlier_ns: Mapping[str, int] = MappingProxyType({})) -> None:
        """Open it; ``earlier_ns`` is what earlier processes of the same run spent, to be added to."""
        self._started_ns = time.monotonic_ns()
        self._earlier_ns = earlier_ns
        self._spent_ns: dict[str, int] = {}
        self._ours_ns: dict[str, list[int]] = {}

    def add(self, name: str, spent_ns: int) -> None:
        self._spent_ns[name] = self._spent_ns.get(name, 0) + spent_ns

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Charge the time of a block to ``name``."""
        started_ns = time.monotonic_ns()
        try:
            yield
        finally:
            self.add(name, time.monotonic_ns() - started_ns)

    @contextmanager
    def unit(self, kind: str) -> Iterator[None]:
        """Measure our own part of one unit of work: the block's time less what it charged to names or inner units."""
        started_ns, claimed_ns = time.monotonic_ns(), self._claimed_ns()
        try:
            yield
        finally:
            own_ns = time.monotonic_ns() - started_ns - (self._claimed_ns() - claimed_ns)
            self._ours_ns.setdefault(kind, []).append(own_ns)

    def own_ns_per(self) -> dict[str, int]:
        """The mean of our own time over the units seen, by kind."""
        return {kind: sum(units) // len(units) for kind, units in self._ours_ns.items()}

    def spent_ns(self) -> dict[str, int]:
        """Time by name so far, ``ours`` being the rest of the time since the ledger was opened."""
        total_ns = time.monotonic_ns() - self._started_ns
        now_ns = {**self._spent_ns, "ours": max(total_ns - sum(self._spent_ns.values()), 0)}
        names = dict.fromkeys([*now_ns, *self._earlier_ns])
        return {name: now_ns.get(name, 0) + self._earlier_ns.get(name, 0) for name in names}

    def _claimed_ns(self) -> int:
        return sum(self._spent_ns.values()) + sum(map(sum, self._ours_ns.values()))
