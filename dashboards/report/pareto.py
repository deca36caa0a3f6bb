"""Which setups under which load nobody beats in both throughput and latency."""

from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.series import Looks
from dashboards.report.sound import competes
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop
from nightbench.summary import CellSummary, NightSummary

__all__ = ["FrontRow", "front", "inferences", "rows"]


@dataclass(frozen=True, slots=True)
class FrontRow:
    model: str
    quantile: str
    name: str
    colour: str
    load: str
    batch: int
    inferences: fmt.Shown
    latency: fmt.Shown


def inferences(cell: CellSummary) -> Estimate | None:
    """Inferences a second of a closed loop: its requests a second, times the inputs in each."""
    if not isinstance(cell.load, ClosedLoop) or cell.throughput_rps is None:
        return None
    return fmt.times(cell.throughput_rps, cell.batch)


def front(cells: Iterable[CellSummary], quantile: str) -> list[CellSummary]:
    """The Pareto front, least throughput first: of the sound closed-loop cells, those of which no other answers both
    more inferences a second and sooner.

    By the figures themselves: whether neighbours on it differ beyond their intervals is another question.
    """
    known = [
        (rate.value, cell.latency_ns[quantile].value, cell)
        for cell in cells
        if quantile in cell.latency_ns
        and (rate := inferences(cell)) is not None
        # Both figures must be sound, and a doubt may be of one alone.
        and competes(cell, quantile)
        and competes(cell, "throughput_rps")
    ]
    best: list[CellSummary] = []
    quickest = float("inf")
    for _, latency_ns, cell in sorted(known, key=lambda each: (-each[0], each[1])):
        if latency_ns < quickest:
            quickest = latency_ns
            best.append(cell)
    return best[::-1]


def rows(night: NightSummary, looks: Looks, quantile: str) -> list[FrontRow]:
    """The front of each model."""
    found = []
    for model in sorted({cell.model for cell in night.cells}):
        for cell in front((each for each in night.cells if each.model == model), quantile):
            look = looks.of(cell)
            found.append(
                FrontRow(
                    model,
                    quantile,
                    look.label,
                    look.colour,
                    cell.load.label,
                    cell.batch,
                    fmt.rate(inferences(cell)),
                    fmt.latency(cell.latency_ns[quantile]),
                )
            )
    return found
