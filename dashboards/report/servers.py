"""The servers side by side: what each costs to have and to run, and what it gives for that."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.pareto import inferences
from dashboards.report.series import Looks, setup_key, setup_names
from dashboards.report.sound import reasons_against
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop
from nightbench.record import DeploymentRecord, MeasurementRecord
from nightbench.server import Protocol
from nightbench.stats.combine import combine
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary

__all__ = ["InsideRow", "ServerRow", "inside", "servers"]

_US = 1e3
_GPU = ("utilisation_percent", "memory_bytes", "power_w")


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One setup of one model."""

    name: str
    colour: str
    model: str
    started: str
    """``process``, ``docker``, ``in-process``."""
    cold_start: fmt.Shown
    model_load: fmt.Shown
    memory: fmt.Shown
    peak_memory: fmt.Shown
    processors: fmt.Shown
    gpu: tuple[fmt.Shown, ...]
    """Utilisation, memory and power where it was busiest; empty where the run saw no GPU."""
    alone: fmt.Shown
    """p95 with one request in flight."""
    beyond: fmt.Shown
    """p50 with one request in flight, beyond that of the same model called in-process."""
    alone_doubted: bool
    """Of both of them."""
    most: fmt.Shown
    """The highest throughput that is sound, or the highest where none is."""
    most_doubted: bool
    at: str
    """The load it was reached under."""


@dataclass(frozen=True, slots=True)
class InsideRow:
    """What a server says of itself under one load."""

    name: str
    colour: str
    load: str
    queue: fmt.Shown
    compute: fmt.Shown
    batch: fmt.Shown


def servers(night: NightSummary, starts: Iterable[DeploymentRecord], looks: Looks) -> list[ServerRow]:
    """One row a setup that came up, model by model."""
    known = {setup_key(record): record for record in starts}
    has_gpu = any(_gpu_series(record, _GPU[0]) for cell in night.cells for record in cell.measurements)
    rows = []
    for name, setup in zip(setup_names(night.deployments), night.deployments, strict=True):
        cells = [cell for cell in night.cells if cell.rounds and setup_key(cell) == setup_key(setup)]
        start = known.get(setup_key(setup))
        if cells:
            rows.append(_row(name, setup, cells, start, night, looks, has_gpu=has_gpu))
    return sorted(rows, key=lambda row: (row.model, row.name))


def _row(
    name: str,
    setup: DeploymentSummary,
    cells: Sequence[CellSummary],
    start: DeploymentRecord | None,
    night: NightSummary,
    looks: Looks,
    *,
    has_gpu: bool,
) -> ServerRow:
    in_process = all(cell.protocol is Protocol.IN_PROCESS for cell in cells)
    alone = min(
        (cell for cell in cells if isinstance(cell.load, ClosedLoop) and "p50" in cell.latency_ns),
        key=lambda cell: (cell.batch, cell.load.size, cell.latency_ns["p50"].value),
        default=None,
    )
    rates = [(cell, rate) for cell in cells if (rate := inferences(cell)) is not None]
    most = max(
        rates, key=lambda pair: (not reasons_against(pair[0], "throughput_rps"), pair[1].value), default=(None, None)
    )
    gpu = tuple(_busiest(cells, _gpu(metric)) for metric in _GPU)
    return ServerRow(
        name=name,
        colour=looks.colour(setup.server),
        model=setup.model,
        started="in-process" if in_process else start.launcher if start else fmt.NOTHING,
        cold_start=fmt.duration(setup.cold_start_ns),
        model_load=fmt.duration(setup.model_load_ns),
        memory=fmt.memory(setup.rss_bytes),
        peak_memory=fmt.memory(_busiest(cells, lambda record: _most(_values(record, "server", "rss_bytes")))),
        processors=fmt.percent(_busiest(cells, lambda record: _mean(_values(record, "server", "cpu_percent")))),
        gpu=(fmt.percent(gpu[0]), fmt.memory(gpu[1]), fmt.power(gpu[2])) if has_gpu else (),
        alone=fmt.latency(alone.latency_ns.get("p95") if alone else None),
        beyond=fmt.latency(None if in_process or alone is None else _beyond(alone, night)),
        alone_doubted=alone is not None and bool(reasons_against(alone, "p95") or reasons_against(alone, "p50")),
        most=fmt.rate(most[1]),
        most_doubted=most[0] is not None and bool(reasons_against(most[0], "throughput_rps")),
        at=f"{most[0].load.label}, batch {most[0].batch}" if most[0] else "",
    )


def _beyond(cell: CellSummary, night: NightSummary) -> Estimate | None:
    """What the server adds to the model's own time: the difference of two medians, each with its interval.

    The bounds by the method of variance estimates recovery: Zou & Donner, "Construction of confidence limits about
    effect measures: a general approach", Statistics in Medicine 27 (2008), equation 2. Only the same export of the
    same model under the same load is its floor: another format computes otherwise.
    """
    wanted = (cell.model, cell.format, cell.precision, cell.batch, cell.load)
    for floor in night.cells:
        own = (floor.model, floor.format, floor.precision, floor.batch, floor.load)
        if floor.protocol is Protocol.IN_PROCESS and own == wanted and "p50" in floor.latency_ns:
            one, other = cell.latency_ns["p50"], floor.latency_ns["p50"]
            value = one.value - other.value
            down, up = _reach(one, one.low, other, other.high), _reach(one, one.high, other, other.low)
            return Estimate(value, None if down is None else value - down, None if up is None else value + up)
    return None


def _reach(one: Estimate, bound: float | None, other: Estimate, other_bound: float | None) -> float | None:
    if bound is None or other_bound is None:
        return None
    return math.hypot(bound - one.value, other_bound - other.value)


def _busiest(cells: Iterable[CellSummary], figure: Callable[[MeasurementRecord], float | None]) -> Estimate | None:
    """The largest of each start over its loads, and over the starts together."""
    largest: dict[str, float] = {}
    for cell in cells:
        for record in cell.measurements:
            value = figure(record)
            if value is not None and math.isfinite(value):
                largest[record.deployment_id] = max(value, largest.get(record.deployment_id, value))
    return combine([Estimate(value) for value in largest.values()]) if largest else None


def _gpu(metric: str) -> Callable[[MeasurementRecord], float | None]:
    """Over the window: memory at its largest, all else on average; of several GPUs the busiest."""
    of_window = _most if metric == "memory_bytes" else _mean

    def read(record: MeasurementRecord) -> float | None:
        return max(
            (value for series in _gpu_series(record, metric) if (value := of_window(series)) is not None), default=None
        )

    return read


def _gpu_series(record: MeasurementRecord, metric: str) -> list[tuple[float, ...]]:
    return [each.values for each in record.telemetry if each.source.startswith("gpu") and each.metric == metric]


def _values(record: MeasurementRecord, source: str, metric: str) -> tuple[float, ...]:
    return next((each.values for each in record.telemetry if (each.source, each.metric) == (source, metric)), ())


def _most(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def inside(night: NightSummary, looks: Looks) -> list[InsideRow]:
    """Queue and compute time a request, and the batch size reached, of servers that publish them."""
    rows = []
    for cell in night.cells:
        queue, compute, batch = (
            _over(cell, suffix) for suffix in ("queue_us_per_request", "compute_us_per_request", "batch_size_mean")
        )
        if queue is not None or compute is not None or batch is not None:
            look = looks.of(cell)
            rows.append(
                InsideRow(
                    look.label,
                    look.colour,
                    f"{cell.model} · {cell.load.label} · batch {cell.batch}",
                    fmt.short(None if queue is None else fmt.times(queue, _US)),
                    fmt.short(None if compute is None else fmt.times(compute, _US)),
                    fmt.bare(batch),
                )
            )
    return rows


def _over(cell: CellSummary, suffix: str) -> Estimate | None:
    """The mean over the rounds, all of which must have it."""
    values = [
        _mean(
            next(
                (each.values for each in record.telemetry if each.source == "server" and each.metric.endswith(suffix)),
                (),
            )
        )
        for record in cell.measurements
    ]
    known = [Estimate(value) for value in values if value is not None]
    return combine(known) if known and len(known) == len(values) else None
