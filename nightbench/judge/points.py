"""What a night adds to the series that are judged: a figure a cell and metric, with the reasons to doubt it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nightbench.figures import Estimate, Reason
from nightbench.judge.metrics import concerns, doubts_of, figure_in
from nightbench.judge.series import Direction, Metric, NightPoint, SeriesKey
from nightbench.judge.words import metric_name
from nightbench.load import ClosedLoop, Search
from nightbench.plan import Cell, Export, Setup
from nightbench.record import Case, MeasurementRecord
from nightbench.stats.combine import combine
from nightbench.summary import CellSummary, NightSummary

__all__ = [
    "CellPoints",
    "case_of",
    "figures_of",
    "plan_cell",
    "points_of",
    "points_of_cells",
    "series_label",
    "sound_rounds",
]

_LEAST_ROUNDS = 2
"""One deployment cannot show how much deployments differ."""


@dataclass(frozen=True, slots=True)
class CellPoints:
    """One measured cell: what it is, and its points."""

    summary: CellSummary
    case: Case
    points: tuple[NightPoint, ...]


def points_of(night: NightSummary, suite: str) -> list[NightPoint]:
    """All points of a night. A cell without a measured round has none: a gap stays a gap."""
    return [point for cell in points_of_cells(night, suite) for point in cell.points]


def points_of_cells(night: NightSummary, suite: str) -> list[CellPoints]:
    """The same cell by cell."""
    return [_of_cell(cell, suite) for cell in night.cells if cell.rounds]


def case_of(cell: CellSummary) -> Case:
    """Of a measured cell. All its rounds have one: the artifact is made once a night."""
    return cell.measurements[0].case


def figures_of(cell: CellSummary) -> Iterator[tuple[Metric, Estimate]]:
    """The figures of a cell that are judged, as far as it has them.

    Throughput, and tokens a second, of closed loops only: under an open loop they are what was sent. Of a search, its
    answer alone: the other figures are those of the step it ended at, which is another one every night.
    """
    if isinstance(cell.load, Search):
        if cell.answer_rps is not None:
            yield Metric.ANSWER_RPS, cell.answer_rps
        return
    closed = isinstance(cell.load, ClosedLoop)
    if closed and cell.throughput_rps is not None:
        yield Metric.THROUGHPUT_RPS, cell.throughput_rps
    for metric, name in ((Metric.LATENCY_P50_NS, "p50"), (Metric.LATENCY_P99_NS, "p99")):
        if name in cell.latency_ns:
            yield metric, cell.latency_ns[name]
    if cell.stream is None:
        return
    if closed:
        yield Metric.TOKENS_PER_S, cell.stream.tokens_per_s
    if "p50" in cell.stream.ttft_ns:
        yield Metric.TTFT_P50_NS, cell.stream.ttft_ns["p50"]
    if "p50" in cell.stream.itl_ns:
        yield Metric.ITL_P50_NS, cell.stream.itl_ns["p50"]


def series_label(cell: CellSummary, metric: Metric) -> str:
    """The series in words: ``fastapi resnet18 b1 raw-http closed c4, p50 latency``."""
    # A container's series goes on beside the process's.
    inside = " docker" if cell.measurements and case_of(cell).launcher == "docker" else ""
    return f"{cell.server}{inside} {cell.model} b{cell.batch} {cell.protocol} {cell.load.label}, {metric_name(metric)}"


def plan_cell(cell: CellSummary, case: Case, weights: str) -> Cell:
    """The cell as it stands in a plan, so that it can be measured again; a resumed run's plan lacks what was done."""
    setup = Setup(
        server=case.server,
        export=Export(case.model, case.format, case.precision, weights),
        options=tuple(sorted(case.options.items())),
    )
    return Cell(f"{cell.cell_key}.r1", setup, case.protocol, case.batch, case.load)


def sound_rounds(cell: CellSummary, metric: Metric) -> tuple[MeasurementRecord, ...]:
    """The rounds that give the figure, with a bound above it and without a doubt about it.

    Without an upper bound it may be anything, though the mean over the rounds has an interval.
    """
    return tuple(
        record
        for record in cell.measurements
        if (figure := figure_in(record, metric)) is not None
        and (metric.direction is Direction.HIGHER or figure.high is not None)
        and not doubts_of(record, metric)
    )


def _of_cell(cell: CellSummary, suite: str) -> CellPoints:
    case = case_of(cell)
    fingerprint = case.fingerprint
    points = []
    for metric, over_all in figures_of(cell):
        figure, doubts = _settled(cell, metric, over_all)
        points.append(NightPoint(SeriesKey(suite, fingerprint, metric), figure, doubts))
    return CellPoints(cell, case, tuple(points))


def _settled(cell: CellSummary, metric: Metric, over_all: Estimate) -> tuple[Estimate, tuple[str, ...]]:
    """The night's figure and its doubts: where most of the planned rounds are sound, theirs alone.

    One disturbed round of several, by a backup that ran meanwhile, say, must not cost the night its point, as long as
    what is left is most of it.
    """
    sound = sound_rounds(cell, metric)
    reasons = [doubt.reason for doubt in cell.doubts if concerns(doubt, metric)]
    of_most = 2 * len(sound) > cell.planned_rounds and len(sound) >= _LEAST_ROUNDS
    if of_most and len(sound) < cell.rounds:
        of_rounds = {doubt.reason for record in cell.measurements for doubt in record.doubts}
        reasons = [reason for reason in reasons if reason not in of_rounds]
        over_all = combine([figure for record in sound if (figure := figure_in(record, metric)) is not None])
    if cell.rounds < cell.planned_rounds:
        # Rounds go missing where something fails: those that are left are not a fair draw.
        reasons.append(Reason.INCOMPLETE)
    if not (math.isfinite(over_all.value) and over_all.value > 0.0):
        reasons.append(Reason.OUT_OF_RANGE)
    elif len(sound) < cell.rounds and not reasons and not of_most:
        reasons.append(Reason.TOO_FEW_SAMPLES)
    return over_all, tuple(dict.fromkeys(reason.value for reason in reasons))
