"""The four questions of Inference Arena, answered from one run's records.

How long do requests take and how many are answered, by load; what does a request cost in processor time, memory and
money; how much is there to write and how long does a start take; and which architecture is best when. Everything here
is computed from `nightbench.summary` and the records in it, and says no more than they do: where 95 % intervals overlap
there is a tie, and doubted figures do not compete.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop
from nightbench.record import MeasurementRecord
from nightbench.stats.moderate import combine_all
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary

__all__ = [
    "Architecture",
    "Arena",
    "Level",
    "Metric",
    "Standing",
    "Written",
    "arena",
    "leaders",
]

_NS_PER_S = 1e9
_S_PER_HOUR = 3600.0
_MILLION = 1e6


class Metric(StrEnum):
    """What architectures compete by at each load."""

    P50 = "p50"
    P99 = "p99"
    THROUGHPUT = "throughput"
    CPU = "cpu"
    """Processor time of one request."""

    @property
    def higher_is_better(self) -> bool:
        return self is Metric.THROUGHPUT

    @property
    def doubted_as(self) -> str:
        """The name that `nightbench.figures.Doubt.figures` give the figure that it is made from."""
        return self.value if self in {Metric.P50, Metric.P99} else "throughput_rps"


@dataclass(frozen=True, slots=True)
class Written:
    """One file that a deployer writes for an architecture."""

    name: str
    lines: int
    """As `nightbench.configuration.configuration_lines` counts them."""


@dataclass(frozen=True, slots=True)
class Level:
    """One architecture under one load, over all rounds. A figure is ``None`` where the records do not give it."""

    concurrency: int
    cell: CellSummary
    cpu_ns_per_request: Estimate | None
    """Processor time of the whole deployment for each successful request, from telemetry."""
    peak_rss_bytes: Estimate | None
    """Resident memory of the whole deployment at its largest. Pages that processes share count for each."""
    cost_per_million: Estimate | None
    """Of a million successful requests at this load, in the currency of the price an hour."""

    def figure(self, metric: Metric) -> Estimate | None:
        match metric:
            case Metric.P50 | Metric.P99:
                return self.cell.latency_ns.get(metric.value)
            case Metric.THROUGHPUT:
                return self.cell.throughput_rps
            case Metric.CPU:
                return self.cpu_ns_per_request

    def doubted(self, metric: Metric | None = None) -> bool:
        """Whether the figure of ``metric`` is; without one, whether everything here is."""
        return any(
            doubt.whole_cell or (metric is not None and metric.doubted_as in doubt.figures)
            for doubt in self.cell.doubts
        )


@dataclass(frozen=True, slots=True)
class Architecture:
    """One way to deploy the pipeline."""

    name: str
    """The server, and the options in which setups of it differ."""
    server: str
    levels: tuple[Level, ...]
    """Lightest load first."""
    deployment: DeploymentSummary | None
    written: tuple[Written, ...]
    """What is written for this architecture alone."""

    @property
    def lines(self) -> int:
        return sum(each.lines for each in self.written)


@dataclass(frozen=True, slots=True)
class Standing:
    """Who is best by one metric under one load: one name where its interval separates it from all others, else all
    that may be the best. Empty where fewer than two undoubted figures are there."""

    metric: Metric
    concurrency: int
    leaders: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    """Who did not compete, since its figure is doubted or missing."""


@dataclass(frozen=True, slots=True)
class Arena:
    """All four answers."""

    model: str
    price_per_hour: float
    architectures: tuple[Architecture, ...]
    shared: tuple[Written, ...]
    """What is written once for all architectures."""
    standings: tuple[Standing, ...]


def arena(
    night: NightSummary,
    models: Collection[str],
    price_per_hour: float,
    written: Callable[[CellSummary], Sequence[Written]],
    shared: Sequence[Written] = (),
) -> Arena:
    """The answers of the one of ``models`` that the run measured.

    ``written`` says what is written for the setup of a cell: nothing for somebody else's server. `UsageError` where
    the price is no price, or the run has no closed loop of one of the models, or has several of them.
    """
    if not (isfinite(price_per_hour) and price_per_hour > 0):
        raise UsageError(f"price per hour {price_per_hour:g} is none; give a finite number above zero")
    cells = [cell for cell in night.cells if cell.model in models and isinstance(cell.load, ClosedLoop)]
    names = sorted({cell.model for cell in cells})
    if len(names) != 1:
        found = f"the pipelines {', '.join(names)}" if names else "no closed loop of a pipeline"
        raise UsageError(f"run {night.run.run_id} has {found}; name a run of suites/arena.yaml")
    if len({(cell.batch, cell.precision, cell.format, cell.protocol) for cell in cells}) > 1:
        raise UsageError(f"run {night.run.run_id} mixes batches, formats or protocols; name one of suites/arena.yaml")
    setups = {_setup(cell): cell for cell in cells}
    titles = _titles(setups.values())
    cpu = _over_rounds(cells, _cpu_ns_per_request)
    peaks = _over_rounds(cells, _peak_rss_bytes)
    architectures = []
    for setup, title in sorted(titles.items(), key=lambda item: item[1]):
        own = [cell for cell in cells if _setup(cell) == setup]
        architectures.append(
            Architecture(
                name=title,
                server=own[0].server,
                levels=tuple(
                    Level(
                        concurrency=cell.load.concurrency,
                        cell=cell,
                        cpu_ns_per_request=cpu.get(cell.cell_key),
                        peak_rss_bytes=peaks.get(cell.cell_key),
                        cost_per_million=_cost(cell.throughput_rps, price_per_hour),
                    )
                    for cell in sorted(own, key=lambda each: each.load.size)
                    if isinstance(cell.load, ClosedLoop)
                ),
                deployment=next((each for each in night.deployments if _setup(each) == setup), None),
                written=tuple(written(own[0])),
            )
        )
    return Arena(
        model=names[0],
        price_per_hour=price_per_hour,
        architectures=tuple(architectures),
        shared=tuple(shared),
        standings=tuple(_standings(architectures)),
    )


def _setup(source: CellSummary | DeploymentSummary) -> tuple[object, ...]:
    return (source.server, source.model, source.format, source.precision, tuple(sorted(source.options.items())))


def _titles(cells: Iterable[CellSummary]) -> dict[tuple[object, ...], str]:
    """Servers by name; where one is set up in several ways, with the options in which they differ."""
    cells = list(cells)
    titles = {}
    for cell in cells:
        siblings = [each.options for each in cells if each.server == cell.server]
        differing = [
            f"{name}={value}"
            for name, value in sorted(cell.options.items())
            if any(each.get(name) != value for each in siblings)
        ]
        titles[_setup(cell)] = " ".join([cell.server, *differing])
    return titles


def _over_rounds(
    cells: Sequence[CellSummary], figure: Callable[[MeasurementRecord], float | None]
) -> dict[str, Estimate]:
    """One figure of every cell whose rounds all give it, by its key."""
    groups: dict[str, list[Estimate]] = {}
    units: list[tuple[object, ...]] = []
    for cell in cells:
        values = [figure(record) for record in cell.measurements]
        known = [Estimate(value) for value in values if value is not None]
        if known and len(known) == len(values):
            groups[cell.cell_key] = known
            units.append(_setup(cell))
    return dict(zip(groups, combine_all(list(groups.values()), units=units), strict=True))


def _cpu_ns_per_request(record: MeasurementRecord) -> float | None:
    """Processors that were busy, times the seconds that each successful request took of them."""
    busy = _values(record, "cpu_percent")
    rate_rps = record.throughput_rps.value
    if not busy or rate_rps <= 0:
        return None
    return sum(busy) / len(busy) / 100 / rate_rps * _NS_PER_S


def _peak_rss_bytes(record: MeasurementRecord) -> float | None:
    return max(_values(record, "rss_bytes"), default=None)


def _values(record: MeasurementRecord, metric: str) -> tuple[float, ...]:
    return next((each.values for each in record.telemetry if (each.source, each.metric) == ("server", metric)), ())


def _cost(throughput_rps: Estimate | None, price_per_hour: float) -> Estimate | None:
    """The machine is paid for by the hour, however busy it is."""
    if throughput_rps is None or throughput_rps.value <= 0:
        return None

    def cost(rate_rps: float | None) -> float | None:
        return price_per_hour / _S_PER_HOUR / rate_rps * _MILLION if rate_rps else None

    value = price_per_hour / _S_PER_HOUR / throughput_rps.value * _MILLION
    return Estimate(value, cost(throughput_rps.high), cost(throughput_rps.low))


def _standings(architectures: Sequence[Architecture]) -> Iterator[Standing]:
    sizes = sorted({level.concurrency for each in architectures for level in each.levels})
    for metric in Metric:
        for size in sizes:
            known = {
                each.name: figure
                for each in architectures
                for level in each.levels
                if level.concurrency == size and not level.doubted(metric) and (figure := level.figure(metric))
            }
            best = leaders(known, higher_is_better=metric.higher_is_better) if len(known) > 1 else ()
            yield Standing(metric, size, best, tuple(each.name for each in architectures if each.name not in known))


def leaders(known: Mapping[str, Estimate], *, higher_is_better: bool) -> tuple[str, ...]:
    """The best, and all whose intervals reach its own; an unknown bound reaches everything."""
    best = (max if higher_is_better else min)(known, key=lambda name: known[name].value)

    def reaches(other: Estimate) -> bool:
        near, far = (known[best].low, other.high) if higher_is_better else (other.low, known[best].high)
        return near is None or far is None or near <= far

    return (best, *(name for name in known if name != best and reaches(known[name])))
