"""A night's records gathered into what people read: one row a cell over its rounds, one a server setup.

Reports, terminal tables and Prefect artifacts all read this, so that no two of them disagree.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nightbench.client_limits import CalibrationSummary, calibrations_of
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop, EndedBy, Load, OpenLoop, PeakShare, Search
from nightbench.model import Format, Precision
from nightbench.record import (
    ArtifactRecord,
    CalibrationRecord,
    Case,
    DeploymentRecord,
    GateRecord,
    MeasurementRecord,
    MissingRecord,
    ParityRecord,
    Record,
    RunFinished,
    RunStarted,
    WireParityRecord,
)
from nightbench.rounds import Figures, over_rounds, over_starts, setup_of
from nightbench.server import EXTERNAL, OptionValue, Protocol

__all__ = ["CellSummary", "DeploymentSummary", "NightSummary", "StreamSummary", "summarise"]


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """How the streamed answers of a cell came, over all its rounds."""

    ttft_ns: Mapping[str, Estimate]
    itl_ns: Mapping[str, Estimate]
    tokens_per_s: Estimate
    goodput_rps: Estimate | None
    slo: Mapping[str, float]
    """The bounds of ``goodput_rps``."""


@dataclass(frozen=True, slots=True)
class CellSummary:
    """One cell over all its rounds. Figures come from the rounds that were measured."""

    cell_key: str
    server: str
    server_version: str
    model: str
    format: Format
    precision: Precision
    options: Mapping[str, OptionValue]
    protocol: Protocol
    batch: int
    load: Load
    rounds: int
    planned_rounds: int
    throughput_rps: Estimate | None
    latency_ns: Mapping[str, Estimate]
    service_ns: Mapping[str, Estimate]
    offered_rps: Estimate | None
    """What was really offered; ``None`` in a closed loop."""
    answer_rps: Estimate | None
    """Searches only: the rate or throughput that was looked for. The other figures are those of the chosen steps."""
    stream: StreamSummary | None
    """``None`` where not every measured round streamed."""
    ended_by: Mapping[EndedBy, int]
    """Rounds by what ended them."""
    ok: int
    failed: int
    outcomes: Mapping[str, int]
    doubts: tuple[Doubt, ...]
    histogram: str
    """Latency of all rounds, merged; empty when nothing was measured."""
    measurements: tuple[MeasurementRecord, ...]
    missing: tuple[MissingRecord, ...]

    @property
    def doubted(self) -> bool:
        """Whether the cell as a whole is doubted; a doubt about some quantile leaves the others standing."""
        return any(doubt.whole_cell for doubt in self.doubts)


@dataclass(frozen=True, slots=True)
class DeploymentSummary:
    """One server setup over all its starts."""

    server: str
    server_version: str
    model: str
    format: Format
    precision: Precision
    options: Mapping[str, OptionValue]
    starts: int
    failed: int
    cold_start_ns: Estimate | None
    model_load_ns: Estimate | None
    rss_bytes: Estimate | None
    failures: tuple[DeploymentRecord, ...]


@dataclass(frozen=True, slots=True)
class NightSummary:
    """Everything one run says, ordered for reading."""

    run: RunStarted
    finished: RunFinished | None
    cells: tuple[CellSummary, ...]
    deployments: tuple[DeploymentSummary, ...]
    artifacts: tuple[ArtifactRecord, ...]
    parity: tuple[ParityRecord, ...]
    wire_parity: tuple[WireParityRecord, ...]
    calibrations: tuple[CalibrationSummary, ...]
    gate: tuple[GateRecord, ...] = ()
    """All that the quality gate found, also of cells that left no record; what it found of ``cells`` they doubt."""

    @property
    def doubted_cells(self) -> int:
        return sum(cell.doubted for cell in self.cells)

    @property
    def missing_cells(self) -> int:
        """Cells without a single measured round."""
        return sum(cell.rounds == 0 for cell in self.cells)


def summarise(records: Iterable[Record]) -> NightSummary:
    """Gather one run's records. The run must have been started; all else may be absent."""
    records = tuple(records)
    deployments = [record for record in records if isinstance(record, DeploymentRecord)]
    versions = {record.deployment_id: record.server_version for record in deployments}
    by_key: dict[str, tuple[list[MeasurementRecord], list[MissingRecord]]] = {}
    for record in records:
        if isinstance(record, MeasurementRecord):
            by_key.setdefault(_key(record.cell_id), ([], []))[0].append(record)
        elif isinstance(record, MissingRecord):
            by_key.setdefault(_key(record.cell_id), ([], []))[1].append(record)
    figures = over_rounds({key: measured for key, (measured, _) in by_key.items()})
    # A resumed run holds its gate again, and may find the same.
    gate = sorted({record for record in records if isinstance(record, GateRecord)}, key=_gate_order)
    # A cell that a resumed run measured after all is no longer missing.
    cells = [
        _cell(
            key,
            measured,
            _unmeasured(measured, missing),
            versions,
            figures[key],
            [record for record in gate if record.cell_key == key],
        )
        for key, (measured, missing) in by_key.items()
    ]
    finished = [record for record in records if isinstance(record, RunFinished)]
    return NightSummary(
        run=next(record for record in records if isinstance(record, RunStarted)),
        finished=finished[-1] if finished else None,
        cells=tuple(sorted(cells, key=_reading_order)),
        deployments=_deployments(deployments),
        artifacts=_artifacts(records),
        parity=tuple(dict.fromkeys(record for record in records if isinstance(record, ParityRecord))),
        wire_parity=tuple(dict.fromkeys(record for record in records if isinstance(record, WireParityRecord))),
        calibrations=calibrations_of(record for record in records if isinstance(record, CalibrationRecord)),
        gate=tuple(gate),
    )


def _key(cell_id: str) -> str:
    return cell_id.partition(".")[0]


def _gate_order(record: GateRecord) -> tuple[str, str, str]:
    return record.cell_key, record.expectation, record.detail


def _unmeasured(measured: Iterable[MeasurementRecord], missing: Iterable[MissingRecord]) -> list[MissingRecord]:
    """The gaps that are left, each once: a resumed run may fill one, or find it again."""
    known = {record.cell_id for record in measured}
    return list({record.cell_id: record for record in missing if record.cell_id not in known}.values())


def _artifacts(records: Iterable[Record]) -> tuple[ArtifactRecord, ...]:
    """Every export once: a resumed run makes them again, and one that succeeded counts."""
    found: dict[tuple[object, ...], ArtifactRecord] = {}
    for record in records:
        if isinstance(record, ArtifactRecord):
            key = (record.model, record.format, record.precision, record.weights)
            if key not in found or found[key].sha256 is None:
                found[key] = record
    return tuple(found.values())


_KINDS = (ClosedLoop, OpenLoop, PeakShare, Search)


def _reading_order(cell: CellSummary) -> tuple[object, ...]:
    return (
        cell.model,
        cell.batch,
        _KINDS.index(type(cell.load)),
        cell.load.size,
        cell.load.label,
        cell.server,
        cell.protocol,
        cell.cell_key,
    )


def _cell(
    key: str,
    measured: Sequence[MeasurementRecord],
    missing: Sequence[MissingRecord],
    versions: Mapping[str, str],
    figures: Figures,
    gate: Sequence[GateRecord],
) -> CellSummary:
    outcomes: dict[str, int] = {}
    ended_by: dict[EndedBy, int] = {}
    for record in measured:
        ended_by[record.ended_by] = ended_by.get(record.ended_by, 0) + 1
        for outcome, count in record.counts.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    source: Case | MissingRecord = measured[0].case if measured else missing[0]
    return CellSummary(
        cell_key=key,
        server_version=versions.get(measured[0].deployment_id, "") if measured else "",
        server=source.server,
        model=source.model,
        format=source.format,
        precision=source.precision,
        options=source.options,
        protocol=source.protocol,
        batch=source.batch,
        load=source.load,
        rounds=len(measured),
        planned_rounds=len({record.round for record in measured} | {record.round for record in missing}),
        throughput_rps=figures.single.get("throughput_rps"),
        latency_ns=figures.quantiles["latency_ns"],
        service_ns=figures.quantiles["service_ns"],
        offered_rps=figures.single.get("offered_rps"),
        answer_rps=figures.single.get("answer_rps"),
        stream=_stream(measured, figures),
        ended_by=ended_by,
        ok=sum(record.ok for record in measured),
        failed=sum(record.failed for record in measured),
        outcomes=outcomes,
        doubts=(*_doubts(measured), *_of_gate(gate)),
        histogram=LatencyHistogram.merge([LatencyHistogram.decode(record.histogram) for record in measured]).encode()
        if measured
        else "",
        measurements=tuple(sorted(measured, key=lambda record: record.round)),
        missing=tuple(missing),
    )


def _stream(measured: Sequence[MeasurementRecord], figures: Figures) -> StreamSummary | None:
    streams = [record.stream for record in measured if record.stream is not None]
    if not streams or len(streams) < len(measured):
        return None
    return StreamSummary(
        ttft_ns=figures.quantiles["ttft_ns"],
        itl_ns=figures.quantiles["itl_ns"],
        tokens_per_s=figures.single["tokens_per_s"],
        goodput_rps=figures.single.get("goodput_rps"),
        slo=streams[0].slo,
    )


def _doubts(measured: Sequence[MeasurementRecord]) -> tuple[Doubt, ...]:
    """Every reason once, with a detail and the number of rounds it concerns; and what only all rounds can show."""
    found: dict[Reason, list[Doubt]] = {}
    for record in measured:
        for reason in dict.fromkeys(doubt.reason for doubt in record.doubts):
            found.setdefault(reason, []).append(_worst([doubt for doubt in record.doubts if doubt.reason is reason]))
    doubts = [_over_rounds(reason, doubts, len(measured)) for reason, doubts in found.items()]
    if len(measured) == 1:
        doubts.append(Doubt(Reason.FEW_ROUNDS, "one deployment cannot show how much deployments differ"))
    elif any(record.context.get("environment") == EXTERNAL for record in measured):
        detail = "the server was running already: all rounds are of one deployment"
        doubts.append(Doubt(Reason.FEW_ROUNDS, detail))
    return tuple(doubts)


def _of_gate(found: Sequence[GateRecord]) -> Iterator[Doubt]:
    """Every reason once."""
    for reason in dict.fromkeys(record.reason for record in found):
        alike = [record for record in found if record.reason is reason]
        whole = any(not record.figures for record in alike)
        figures = () if whole else tuple(sorted({name for record in alike for name in record.figures}))
        yield Doubt(reason, "; ".join(dict.fromkeys(record.detail for record in alike)), figures)


def _worst(doubts: Sequence[Doubt]) -> Doubt:
    """One doubt for all of one reason in a round, about everything that any of them is about."""
    first = min(doubts, key=lambda doubt: len(doubt.figures))
    figures = () if first.whole_cell else tuple(dict.fromkeys(name for doubt in doubts for name in doubt.figures))
    return Doubt(first.reason, first.detail, figures)


def _over_rounds(reason: Reason, doubts: Sequence[Doubt], rounds: int) -> Doubt:
    # The worst stands first: one about the whole cell rather than one about its tail.
    first = min(doubts, key=lambda doubt: len(doubt.figures))
    figures = () if first.whole_cell else tuple(sorted({name for doubt in doubts for name in doubt.figures}))
    detail = first.detail if rounds == 1 else f"{len(doubts)} of {rounds} rounds: {first.detail}"
    return Doubt(reason, detail, figures)


def _deployments(records: Iterable[DeploymentRecord]) -> tuple[DeploymentSummary, ...]:
    groups: dict[str, list[DeploymentRecord]] = {}
    for record in records:
        groups.setdefault(setup_of(record), []).append(record)
    cold = over_starts(groups, lambda record: record.cold_start_ns)
    load = over_starts(groups, lambda record: record.model_load_ns)
    rss = over_starts(groups, lambda record: record.rss_bytes)
    return tuple(
        DeploymentSummary(
            server=group[0].server,
            server_version=group[0].server_version,
            model=group[0].model,
            format=group[0].format,
            precision=group[0].precision,
            options=group[0].options,
            starts=len(group),
            failed=sum(record.failure is not None for record in group),
            cold_start_ns=cold.get(key),
            model_load_ns=load.get(key),
            rss_bytes=rss.get(key),
            failures=tuple(record for record in group if record.failure is not None),
        )
        for key, group in sorted(groups.items())
    )
