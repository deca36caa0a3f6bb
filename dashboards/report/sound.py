"""Which figures may compete with each other."""

from dashboards.report.doubts import title
from nightbench.server import Protocol
from nightbench.summary import CellSummary

__all__ = ["competes", "reasons_against"]


def reasons_against(cell: CellSummary, figure: str) -> tuple[str, ...]:
    """Why ``figure``, as `nightbench.figures.Doubt.figures` calls it, is doubted; empty where it is sound."""
    concerned = [doubt.reason for doubt in cell.doubts if doubt.whole_cell or figure in doubt.figures]
    return tuple(title(reason) for reason in dict.fromkeys(concerned))


def competes(cell: CellSummary, figure: str) -> bool:
    """Whether it was measured by a server (the in-process floor pays for no network), and is not doubted."""
    return cell.rounds > 0 and cell.protocol is not Protocol.IN_PROCESS and not reasons_against(cell, figure)
