"""Which plots the report shows, in which order, and what their captions say."""

from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.report.batches import swept
from dashboards.report.plots import batch, concurrency, distribution, open_loop, search, startup, throughput
from dashboards.report.plots.base import Plot
from dashboards.report.plots.group import by_model
from dashboards.report.plots.group import concurrency as in_flight
from dashboards.report.series import Looks
from nightbench.load import OpenLoop, PeakShare, Search
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary

__all__ = ["PlotSection", "batches", "searches", "sections"]

_SHOWN = ("p50", "p99")
_AT_PEAK_SHARE = " Shares of a peak stand at the rate that was offered, which differs from server to server."


@dataclass(frozen=True, slots=True)
class PlotSection:
    """Plots that answer one question. Without plots, ``absent`` says why."""

    anchor: str
    heading: str
    intro: str
    plots: tuple[Plot, ...]
    absent: str
    legend: bool = True

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(plot.choice for plot in self.plots if plot.choice))


def sections(night: NightSummary, looks: Looks) -> list[PlotSection]:
    """Every section, small multiples by model within each."""
    return [
        PlotSection(
            "throughput",
            "Throughput against latency",
            "Closed loops. Each line climbs through the concurrencies of one server: right is more work done, "
            "down is sooner answered. A line that only rises has reached its capacity. The dotted staircase is the "
            "Pareto front: whatever lies above and left of it is beaten in both by a sound figure of another.",
            _throughput(night, looks),
            "No closed-loop cell was measured.",
        ),
        PlotSection(
            "concurrency",
            "Latency against concurrency",
            "Closed loops. The band is the 95 % interval of each point, between fresh deployments.",
            _concurrency(night, looks),
            "No closed-loop cell was measured.",
        ),
        PlotSection(
            "distribution",
            "Latency distribution",
            "All rounds together, on an axis that gives each further nine the same room. "
            "Markers are the reported quantiles with their 95 % intervals; dotted lines are doubted cells.",
            _distribution(night, looks),
            "No latency was recorded.",
        ),
        PlotSection(
            "open-loop",
            "Latency under an offered rate",
            "Open loops. Requests are due at times fixed beforehand, and latency counts from then: a server that "
            "stalls pays for every request that had to wait.",
            _open_loop(night, looks),
            "The suite has no open-loop cell that was measured.",
        ),
        PlotSection(
            "startup",
            "Cold start and memory",
            "From starting the process to its first correct answer, the share of it that loading the model took, and "
            "the resident memory of the whole process tree at that moment. Bars carry 95 % intervals over the starts.",
            _startup(night, looks),
            "No server came up.",
            legend=False,
        ),
    ]


def batches(night: NightSummary, looks: Looks) -> PlotSection | None:
    """What batch size does; ``None`` where there is but one."""
    plots = _batch(night, looks)
    if not plots:
        return None
    return PlotSection(
        "batch",
        "Batch size",
        "What putting several inputs into one request costs in waiting, and what it buys. This is the client's batch; "
        "a server may join requests by itself besides.",
        plots,
        "",
    )


def searches(night: NightSummary, looks: Looks) -> PlotSection | None:
    """The way of every search; ``None`` where nothing was searched for."""
    groups: dict[tuple[str, str, int], list[CellSummary]] = {}
    for cell in night.cells:
        if isinstance(cell.load, Search) and cell.rounds:
            groups.setdefault((cell.model, cell.load.label, cell.batch), []).append(cell)
    if not groups:
        return None
    batches = len({batch for _, _, batch in groups}) > 1
    plots = tuple(
        Plot(
            f"{model}: {label}{f' · batch {batch}' * batches}",
            "Each step of each round, with its 95 % interval; the large marker is the answer, hollow ones are doubted.",
            figure,
        )
        for (model, label, batch), cells in groups.items()
        if (figure := search.figure(cells, looks)) is not None
    )
    return PlotSection(
        "searches",
        "Searches",
        "A search tries loads one after the other on a fresh deployment until it finds what it looks for: the highest "
        "throughput (peak), the highest rate whose p99 keeps a bound, or the load beyond which latency grows faster "
        "than throughput (knee).",
        plots,
        "No step of a search could be drawn.",
    )


def _throughput(night: NightSummary, looks: Looks) -> tuple[Plot, ...]:
    return tuple(
        Plot(
            f"{model}: {quantile}",
            f"{quantile} latency in milliseconds over throughput; the labels are requests in flight (c) and inputs a "
            "request (b). Bars are 95 % intervals, hollow markers are doubted.",
            figure,
            # Batch sizes multiply the points.
            wide=len({cell.batch for cell in cells}) > 1,
        )
        for model, cells in by_model(night.cells).items()
        for quantile in _SHOWN
        if (figure := throughput.figure(cells, quantile, looks)) is not None
    )


def _concurrency(night: NightSummary, looks: Looks) -> tuple[Plot, ...]:
    return tuple(
        Plot(
            f"{title}: {quantile}",
            f"{quantile} latency in milliseconds over requests in flight. Hollow markers are doubted.",
            figure,
        )
        for title, cells in _climbed(night.cells).items()
        for quantile in _SHOWN
        if (figure := concurrency.figure(cells, quantile, looks)) is not None
    )


def _climbed(cells: Iterable[CellSummary]) -> dict[str, list[CellSummary]]:
    """Closed loops by model and batch size, by title: of a model's batch sizes, those with several concurrencies. One
    point a server is no curve, but where there is no other it is drawn."""
    found = {}
    for model, own in by_model(cell for cell in cells if in_flight(cell) is not None).items():
        sizes = sorted({cell.batch for cell in own})
        groups = {size: [cell for cell in own if cell.batch == size] for size in sizes}
        curves = {size: group for size, group in groups.items() if len({in_flight(cell) for cell in group}) > 1}
        for size, group in (curves or groups).items():
            found[f"{model}, batch {size}" if len(sizes) > 1 else model] = group
    return found


def _batch(night: NightSummary, looks: Looks) -> tuple[Plot, ...]:
    plots = []
    for (model, load), cells in swept(night.cells).items():
        drawn = (
            ("p50", "p50 latency of a whole request in milliseconds", batch.latency(cells, "p50", looks)),
            ("p99", "p99 latency of a whole request in milliseconds", batch.latency(cells, "p99", looks)),
            ("inferences", "Inferences a second", batch.throughput(cells, looks)),
        )
        plots += [
            Plot(f"{model}, {load}: {what}", f"{caption} over inputs in it. Hollow markers are doubted.", figure)
            for what, caption, figure in drawn
            if figure is not None
        ]
    return tuple(plots)


def _distribution(night: NightSummary, looks: Looks) -> tuple[Plot, ...]:
    # The answers of a search are loads of their own, one a server.
    loads = dict.fromkeys((cell.batch, cell.load) for cell in night.cells if not isinstance(cell.load, Search))
    several = len({size for size, _ in loads}) > 1
    return tuple(
        Plot(
            f"{model}: {choice}",
            "Latency in milliseconds over the percentile of successful requests (%).",
            figure,
            choice=choice,
            wide=True,
        )
        for size, load in loads
        for choice in [f"{load.label}, batch {size}" if several else load.label]
        for model, cells in by_model(each for each in night.cells if (each.batch, each.load) == (size, load)).items()
        if (figure := distribution.figure(cells, looks)) is not None
    )


def _open_loop(night: NightSummary, looks: Looks) -> tuple[Plot, ...]:
    groups: dict[tuple[str, str, int], list[CellSummary]] = {}
    for cell in night.cells:
        if isinstance(cell.load, OpenLoop | PeakShare):
            groups.setdefault((cell.model, cell.load.spacing, cell.batch), []).append(cell)
    spacings, sizes = ({key[at] for key in groups} for at in (1, 2))
    return tuple(
        Plot(
            f"{model}{f': {spacing} arrivals' * (len(spacings) > 1)}{f', batch {size}' * (len(sizes) > 1)}",
            "Latency in milliseconds from the time a request was due: p50 and p99 with 95 % intervals. "
            f"Hollow markers are doubted.{_AT_PEAK_SHARE * any(isinstance(cell.load, PeakShare) for cell in cells)}",
            figure,
            wide=True,
        )
        for (model, spacing, size), cells in sorted(groups.items())
        if (figure := open_loop.figure(cells, looks)) is not None
    )


def _startup(night: NightSummary, looks: Looks) -> tuple[Plot, ...]:
    models: dict[str, list[DeploymentSummary]] = {}
    for setup in night.deployments:
        models.setdefault(setup.model, []).append(setup)
    plots = []
    for model, setups in sorted(models.items()):
        start = startup.start(setups, looks)
        if start is not None:
            plots.append(
                Plot(f"{model}: cold start", "Seconds; solid: cold start, light: model load within it.", start)
            )
        memory = startup.memory(setups, looks)
        if memory is not None:
            plots.append(Plot(f"{model}: memory", "Resident memory in MiB when ready, before any load.", memory))
    return tuple(plots)
