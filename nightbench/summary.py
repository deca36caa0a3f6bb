"""A night's records gathered into what people read: one row a cell over its rounds, one a server setup.

Reports, terminal tables and Prefect artifacts all read this, so that no two of them disagree.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop, Load, OpenLoop
from nightbench.model import Format, Precision
from nightbench.record import (
    ArtifactRecord,
    Case,
    DeploymentRecord,
    Doubt,
    Estimate,
    MeasurementRecord,
    MissingRecord,
    ParityRecord,
    Reason,
    Record,
    RunFinished,
    RunStarted,
)
from nightbench.server import OptionValue, Protocol
from nightbench.stats.moderate import combine_all

__all__ = ["CellSummary", "DeploymentSummary", "NightSummary", "summarise"]


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
        return bool(self.doubts)


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
    figures = _figures({key: measured for key, (measured, _) in by_key.items()})
    # A cell that a resumed run measured after all is no longer missing.
    cells = [
        _cell(key, measured, _unmeasured(measured, missing), versions, figures[key])
        for key, (measured, missing) in by_key.items()
    ]
    finished = [record for record in records if isinstance(record, RunFinished)]
    return NightSummary(
        run=next(record for record in records if isinstance(record, RunStarted)),
        finished=finished[-1] if finished else None,
        cells=tuple(sorted(cells, key=_reading_order)),
        deployments=_deployments(deployments),
        artifacts=tuple(record for record in records if isinstance(record, ArtifactRecord)),
        parity=tuple(record for record in records if isinstance(record, ParityRecord)),
    )


def _key(cell_id: str) -> str:
    return cell_id.partition(".")[0]


def _unmeasured(measured: Iterable[MeasurementRecord], missing: Iterable[MissingRecord]) -> list[MissingRecord]:
    known = {record.cell_id for record in measured}
    return [record for record in missing if record.cell_id not in known]


def _reading_order(cell: CellSummary) -> tuple[object, ...]:
    rate = cell.load.rate_rps if isinstance(cell.load, OpenLoop) else cell.load.concurrency
    return (
        cell.model,
        cell.batch,
        isinstance(cell.load, OpenLoop),
        rate,
        cell.server,
        cell.protocol,
        cell.cell_key,
    )


@dataclass(slots=True)
class _Figures:
    """What the rounds of one cell say together."""

    throughput_rps: Estimate | None = None
    latency_ns: dict[str, Estimate] = field(default_factory=dict)
    service_ns: dict[str, Estimate] = field(default_factory=dict)


def _figures(cells: Mapping[str, Sequence[MeasurementRecord]]) -> dict[str, _Figures]:
    """Every metric over the rounds, by cell key. Cells of one kind of load lend each other what they know of spread."""
    found = {key: _Figures() for key in cells}
    for kind in (ClosedLoop, OpenLoop):
        alike = {key: rounds for key, rounds in cells.items() if rounds and isinstance(rounds[0].case.load, kind)}
        units = {key: _setup(rounds[0].case) for key, rounds in alike.items()}
        rates = {key: [record.throughput_rps for record in rounds] for key, rounds in alike.items()}
        for key, rate in _moderated(rates, units).items():
            found[key].throughput_rps = rate
        latencies = {key: [record.latency_ns for record in rounds] for key, rounds in alike.items()}
        for name, key, estimate in _quantiles(latencies, units):
            found[key].latency_ns[name] = estimate
        services = {key: [record.service_ns for record in rounds] for key, rounds in alike.items()}
        for name, key, estimate in _quantiles(services, units):
            found[key].service_ns[name] = estimate
    return found


def _quantiles(
    cells: Mapping[str, Sequence[Mapping[str, Estimate]]], units: Mapping[str, str]
) -> Iterator[tuple[str, str, Estimate]]:
    """Each quantile over the rounds of each cell, as (quantile, cell key, estimate), quantiles in their own order.

    One that any round could not carry is left out, not averaged over fewer.
    """
    names = dict.fromkeys(name for rounds in cells.values() for each in rounds for name in each)
    for name in names:
        carried = {
            key: [each[name] for each in rounds]
            for key, rounds in cells.items()
            if all(name in each for each in rounds)
        }
        for key, estimate in _moderated(carried, units).items():
            yield name, key, estimate


def _moderated(groups: Mapping[str, Sequence[Estimate]], units: Mapping[str, str]) -> dict[str, Estimate]:
    return dict(zip(groups, combine_all(list(groups.values()), units=[units[key] for key in groups]), strict=True))


def _setup(source: Case | DeploymentRecord) -> str:
    """Names what is started afresh every round: cells that share it share the luck of its starts."""
    setup = (source.server, source.model, source.format, source.precision, sorted(source.options.items()))
    return json.dumps(setup)


def _cell(
    key: str,
    measured: Sequence[MeasurementRecord],
    missing: Sequence[MissingRecord],
    versions: Mapping[str, str],
    figures: _Figures,
) -> CellSummary:
    outcomes: dict[str, int] = {}
    for record in measured:
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
        throughput_rps=figures.throughput_rps,
        latency_ns=figures.latency_ns,
        service_ns=figures.service_ns,
        ok=sum(record.ok for record in measured),
        failed=sum(record.failed for record in measured),
        outcomes=outcomes,
        doubts=_doubts(measured),
        histogram=LatencyHistogram.merge([LatencyHistogram.decode(record.histogram) for record in measured]).encode()
        if measured
        else "",
        measurements=tuple(sorted(measured, key=lambda record: record.round)),
        missing=tuple(missing),
    )


def _doubts(measured: Sequence[MeasurementRecord]) -> tuple[Doubt, ...]:
    """Every reason once, with its first detail and the number of rounds it concerns."""
    found: dict[Reason, list[str]] = {}
    for record in measured:
        for reason, detail in {doubt.reason: doubt.detail for doubt in record.doubts}.items():
            found.setdefault(reason, []).append(detail)
    return tuple(
        Doubt(
            reason,
            details[0] if len(measured) == 1 else f"{len(details)} of {len(measured)} rounds: {details[0]}",
        )
        for reason, details in found.items()
    )


def _deployments(records: Iterable[DeploymentRecord]) -> tuple[DeploymentSummary, ...]:
    groups: dict[str, list[DeploymentRecord]] = {}
    for record in records:
        groups.setdefault(_setup(record), []).append(record)
    cold = _over_starts(groups, lambda record: record.cold_start_ns)
    load = _over_starts(groups, lambda record: record.model_load_ns)
    rss = _over_starts(groups, lambda record: record.rss_bytes)
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


def _over_starts(
    groups: Mapping[str, Sequence[DeploymentRecord]], figure: Callable[[DeploymentRecord], int | None]
) -> dict[str, Estimate]:
    """One figure over the starts of each setup, by setup; setups that never gave it are left out."""
    known = {
        key: [Estimate(float(value)) for record in group if (value := figure(record)) is not None]
        for key, group in groups.items()
    }
    known = {key: values for key, values in known.items() if values}
    return _moderated(known, {key: key for key in known})
