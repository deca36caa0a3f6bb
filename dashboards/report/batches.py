"""What batch size does: latency and inferences a second of each setup, by the inputs in one request."""

from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.pareto import inferences
from dashboards.report.series import Looks
from nightbench.load import ClosedLoop
from nightbench.summary import CellSummary, NightSummary

__all__ = ["BatchCell", "BatchGroup", "BatchRow", "batches", "swept"]


@dataclass(frozen=True, slots=True)
class BatchCell:
    p50: fmt.Shown
    p99: fmt.Shown
    inferences: fmt.Shown
    doubted: bool
    measured: bool


@dataclass(frozen=True, slots=True)
class BatchRow:
    name: str
    colour: str
    cells: tuple[BatchCell | None, ...]
    """One for each size of the group; ``None`` where it was not planned."""


@dataclass(frozen=True, slots=True)
class BatchGroup:
    model: str
    load: str
    sizes: tuple[int, ...]
    rows: tuple[BatchRow, ...]


def swept(cells: Iterable[CellSummary]) -> dict[tuple[str, str], list[CellSummary]]:
    """Closed loops by model and load, as far as their batch size was varied."""
    groups: dict[tuple[str, str], list[CellSummary]] = {}
    for cell in cells:
        if isinstance(cell.load, ClosedLoop):
            groups.setdefault((cell.model, cell.load.label), []).append(cell)
    return {key: group for key, group in groups.items() if len({cell.batch for cell in group}) > 1}


def batches(night: NightSummary, looks: Looks) -> list[BatchGroup]:
    found = []
    for (model, load), cells in swept(night.cells).items():
        sizes = tuple(sorted({cell.batch for cell in cells}))
        rows: dict[str, dict[int, CellSummary]] = {}
        for cell in cells:
            rows.setdefault(looks.of(cell).label, {})[cell.batch] = cell
        found.append(
            BatchGroup(
                model,
                load,
                sizes,
                tuple(
                    BatchRow(
                        name,
                        looks.of(next(iter(own.values()))).colour,
                        tuple(_cell(own[size]) if size in own else None for size in sizes),
                    )
                    for name, own in sorted(rows.items())
                ),
            )
        )
    return found


def _cell(cell: CellSummary) -> BatchCell:
    return BatchCell(
        fmt.latency(cell.latency_ns.get("p50")),
        fmt.latency(cell.latency_ns.get("p99")),
        fmt.rate(inferences(cell)),
        cell.doubted,
        cell.rounds > 0,
    )
