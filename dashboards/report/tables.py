"""The report's tables as rows of ready text: pure, so that what the page says can be tested without HTML."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dashboards.report import format as fmt
from dashboards.report.doubts import title
from dashboards.report.series import Looks, setup_key, setup_names
from nightbench.figures import Doubt, Reason
from nightbench.load import EndedBy, PeakShare
from nightbench.record import DeploymentRecord
from nightbench.server import OptionValue
from nightbench.summary import CellSummary, NightSummary

__all__ = [
    "DeploymentRow",
    "Failure",
    "Note",
    "ResultGroup",
    "ResultRow",
    "SpentRow",
    "deployments",
    "results",
    "spent",
]

_QUANTILES = ("p50", "p95", "p99")
_ENDED = {
    EndedBy.REQUESTS: "all requests sent",
    EndedBy.PRECISION: "as precise as asked",
    EndedBy.OVER_SATURATED: "the backlog only grew",
    EndedBy.ROWS: "no memory for more requests",
}


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know about a row: an answer, a doubt, what ended it, or why it was not measured."""

    label: str
    detail: str


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One cell. ``figures`` are throughput, p50, p95 and p99; empty where nothing was measured."""

    cell_key: str
    name: str
    colour: str
    setup: str
    options: str
    state: Literal["sound", "doubted", "missing"]
    rounds: str
    figures: tuple[fmt.Shown, ...]
    errors: str
    ways: str
    """How the failed requests ended."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class ResultGroup:
    """Cells that may be compared with each other: one model, batch size and load."""

    model: str
    load: str
    batch: int
    rows: tuple[ResultRow, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """One start that did not succeed, with what the server last wrote."""

    round: int
    kind: str
    detail: str
    log_tail: str


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    name: str
    colour: str
    version: str
    model: str
    setup: str
    options: str
    image: str
    """Of a container: its name and digest."""
    starts: str
    cold_start: fmt.Shown
    model_load: fmt.Shown
    memory: fmt.Shown
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class SpentRow:
    what: str
    spent: str
    share: str
    percent: float


def results(night: NightSummary, looks: Looks) -> list[ResultGroup]:
    """Every planned cell, measured or not, in the night's reading order."""
    groups: dict[tuple[str, str, int], list[ResultRow]] = {}
    for cell in night.cells:
        groups.setdefault((cell.model, cell.load.label, cell.batch), []).append(_result(cell, looks))
    return [ResultGroup(model, load, batch, tuple(rows)) for (model, load, batch), rows in groups.items()]


def _result(cell: CellSummary, looks: Looks) -> ResultRow:
    look = looks.of(cell)
    measured = cell.rounds > 0
    figures = (fmt.rate(cell.throughput_rps), *(fmt.latency(cell.latency_ns.get(name)) for name in _QUANTILES))
    return ResultRow(
        cell_key=cell.cell_key,
        name=look.label,
        colour=look.colour,
        setup=f"{cell.protocol} · {cell.format} {cell.precision}",
        options=_pairs(cell.options),
        state="missing" if not measured else "doubted" if cell.doubted else "sound",
        rounds=f"{cell.rounds} of {cell.planned_rounds}",
        figures=figures if measured else (),
        errors=_errors(cell) if measured else "",
        ways=_ways(cell),
        notes=(
            *_found(cell),
            *(Note(_titled(doubt), doubt.detail) for doubt in cell.doubts),
            *_ended(cell),
            *_missing(cell),
        ),
    )


def _found(cell: CellSummary) -> list[Note]:
    """What a load came to that was not known beforehand."""
    if cell.answer_rps is not None:
        return [Note("answer", str(fmt.rate(cell.answer_rps)))]
    if isinstance(cell.load, PeakShare) and cell.offered_rps is not None:
        return [Note("offered", str(fmt.rate(cell.offered_rps)))]
    return []


def _ended(cell: CellSummary) -> list[Note]:
    """What ended its rounds, beside their duration and what the doubts say."""
    told = {EndedBy.DURATION}
    if any(doubt.reason is Reason.OVER_SATURATED for doubt in cell.doubts):
        told.add(EndedBy.OVER_SATURATED)
    return [
        Note("ended early", f"{_ENDED[way]} in {rounds} of {cell.rounds} rounds")
        for way, rounds in cell.ended_by.items()
        if way not in told
    ]


def _titled(doubt: Doubt) -> str:
    """The reason, and the figures it concerns unless it concerns them all."""
    return title(doubt.reason) if doubt.whole_cell else f"{', '.join(doubt.figures)}: {title(doubt.reason)}"


def _errors(cell: CellSummary) -> str:
    total = cell.ok + cell.failed
    text = f"{fmt.count(cell.failed)} of {fmt.count(total)}"
    return f"{text} ({fmt.share(cell.failed, total)})" if cell.failed else text


def _ways(cell: CellSummary) -> str:
    """How requests failed, by outcome."""
    return ", ".join(f"{fmt.count(n)} {way}" for way, n in sorted(cell.outcomes.items()) if way != "ok" and n)


def _missing(cell: CellSummary) -> list[Note]:
    """The rounds that were not measured, those of one cause together."""
    causes: dict[tuple[str, str], list[int]] = {}
    for record in cell.missing:
        causes.setdefault((record.reason, record.detail), []).append(record.round)
    return [
        Note(
            f"{reason.replace('_', ' ')}, round{'s' * (len(rounds) > 1)} {', '.join(map(str, sorted(rounds)))}", detail
        )
        for (reason, detail), rounds in causes.items()
    ]


def deployments(night: NightSummary, looks: Looks, starts: Iterable[DeploymentRecord] = ()) -> list[DeploymentRow]:
    """Every setup over its starts; ``starts`` say from which image it came."""
    images = {setup_key(record): record for record in starts}
    return [
        DeploymentRow(
            name=name,
            colour=looks.colour(setup.server),
            version=setup.server_version,
            model=setup.model,
            setup=f"{setup.format} {setup.precision}",
            options=_pairs(setup.options),
            image=_image(images.get(setup_key(setup))),
            starts=f"{setup.starts - setup.failed} of {setup.starts}",
            cold_start=fmt.duration(setup.cold_start_ns),
            model_load=fmt.duration(setup.model_load_ns),
            memory=fmt.memory(setup.rss_bytes),
            failures=tuple(
                Failure(record.round, record.failure_kind or "failed", record.failure or "", record.log_tail)
                for record in setup.failures
            ),
        )
        for name, setup in zip(setup_names(night.deployments), night.deployments, strict=True)
    ]


def spent(spent_ns: Mapping[str, int]) -> list[SpentRow]:
    """Where the time went, in the order the night spent it, with shares of the whole."""
    whole = sum(spent_ns.values())
    return [
        SpentRow(what, fmt.in_words(part), fmt.share(part, whole), 100 * part / whole if whole else 0.0)
        for what, part in spent_ns.items()
    ]


def _image(start: DeploymentRecord | None) -> str:
    return " ".join(filter(None, [start.image, start.image_digest])) if start else ""


def _pairs(options: Mapping[str, OptionValue] | Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items()))
