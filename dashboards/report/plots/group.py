"""Cells put together as plots need them: by model, then by series, measured ones only."""

from collections.abc import Iterable

from dashboards.report.series import Look, Looks
from nightbench.load import ClosedLoop, OpenLoop, PeakShare
from nightbench.summary import CellSummary

__all__ = ["by_model", "by_series", "concurrency", "offered_rps"]


def by_model(cells: Iterable[CellSummary]) -> dict[str, list[CellSummary]]:
    groups: dict[str, list[CellSummary]] = {}
    for cell in cells:
        groups.setdefault(cell.model, []).append(cell)
    return dict(sorted(groups.items()))


def by_series(cells: Iterable[CellSummary], looks: Looks) -> list[tuple[Look, list[CellSummary]]]:
    """Each series with its cells, lightest load first, in the order of the legend."""
    groups: dict[str, tuple[Look, list[CellSummary]]] = {}
    for cell in cells:
        look = looks.of(cell)
        groups.setdefault(look.label, (look, []))[1].append(cell)
    return [(look, sorted(group, key=_weight)) for _, (look, group) in sorted(groups.items())]


def concurrency(cell: CellSummary) -> int | None:
    return cell.load.concurrency if isinstance(cell.load, ClosedLoop) else None


def offered_rps(cell: CellSummary) -> float | None:
    """The rate of an open loop; where it follows from a peak, the one that was really offered."""
    if isinstance(cell.load, PeakShare):
        return cell.offered_rps.value if cell.offered_rps else None
    return cell.load.rate_rps if isinstance(cell.load, OpenLoop) else None


def _weight(cell: CellSummary) -> float:
    return offered_rps(cell) or cell.load.size
