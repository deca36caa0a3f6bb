"""Searches as rows of ready text: what was found, and the way to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.doubts import title
from dashboards.report.series import Looks
from nightbench.figures import Estimate, Reason, SearchStep
from nightbench.load import ClosedLoop, EndedBy, Goal, Search
from nightbench.record import MeasurementRecord
from nightbench.summary import CellSummary, NightSummary

__all__ = ["SearchGroup", "SearchRow", "StepNote", "Way", "searches"]


@dataclass(frozen=True, slots=True)
class StepNote:
    """One load that was tried: ``c8 655 rps``."""

    load: str
    figure: str
    remark: str
    """Why the step does not count as it stands."""
    chosen: bool


@dataclass(frozen=True, slots=True)
class Way:
    """One round of a search."""

    round: int
    answer: fmt.Shown
    steps: tuple[StepNote, ...]
    detail: str
    """Why it ended there."""


@dataclass(frozen=True, slots=True)
class SearchRow:
    name: str
    colour: str
    doubted: bool
    answer: fmt.Shown
    """Over the rounds."""
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class SearchGroup:
    """Searches for the same thing."""

    model: str
    load: str
    batch: int
    rows: tuple[SearchRow, ...]


def searches(night: NightSummary, looks: Looks) -> list[SearchGroup]:
    """Every search that was measured, in the night's reading order."""
    groups: dict[tuple[str, str, int], list[SearchRow]] = {}
    for cell in night.cells:
        if isinstance(cell.load, Search) and cell.rounds:
            groups.setdefault((cell.model, cell.load.label, cell.batch), []).append(_row(cell, cell.load, looks))
    return [SearchGroup(model, load, batch, tuple(rows)) for (model, load, batch), rows in groups.items()]


def _row(cell: CellSummary, search: Search, looks: Looks) -> SearchRow:
    look = looks.of(cell)
    return SearchRow(
        name=look.label,
        colour=look.colour,
        doubted=cell.doubted,
        answer=fmt.rate(cell.answer_rps),
        ways=tuple(_ways(cell.measurements, search)),
    )


def _ways(records: Sequence[MeasurementRecord], search: Search) -> list[Way]:
    return [
        Way(
            round=record.round,
            answer=fmt.rate(record.search.answer_rps),
            steps=tuple(
                _step(step, search.goal, chosen=at == record.search.chosen)
                for at, step in enumerate(record.search.steps)
            ),
            detail=record.search.detail,
        )
        for record in records
        if record.search is not None
    ]


def _step(step: SearchStep, goal: Goal, *, chosen: bool) -> StepNote:
    """With the figures that the goal looks at."""
    load = (
        f"c{step.load.concurrency}"
        if isinstance(step.load, ClosedLoop)
        else _bare(fmt.rate(Estimate(step.load.rate_rps)))
    )
    figures = []
    if goal is not Goal.SLO or isinstance(step.load, ClosedLoop):
        figures.append(_bare(fmt.rate(step.throughput_rps)))
    if goal is not Goal.PEAK:
        quantile = "p99" if goal is Goal.SLO else "p50"
        figures.append(f"{quantile} {_bare(fmt.latency(step.latency_ns.get(quantile)))}")
    remark = (
        title(Reason.OVER_SATURATED) if step.ended_by is EndedBy.OVER_SATURATED else "doubted" if step.doubts else ""
    )
    return StepNote(load, ", ".join(figures), remark, chosen)


def _bare(shown: fmt.Shown) -> str:
    return f"{shown.value} {shown.unit}".rstrip()
