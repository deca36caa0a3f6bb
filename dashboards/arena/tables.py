"""The answers as rows of text, for the page and for terminals alike."""

from collections.abc import Callable
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.format import NOTHING, Shown
from nightbench.arena import Architecture, Arena, Level, Metric, Standing
from nightbench.figures import Estimate

__all__ = ["COLUMNS", "Row", "deploying", "lines", "loads", "standings", "starts"]


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture under one load."""

    architecture: str
    doubted: bool
    figures: tuple[Shown, ...]
    """In the order of `COLUMNS`."""
    doubts: tuple[bool, ...]
    """Whether each of the figures is doubted."""


def _cost(estimate: Estimate | None) -> Shown:
    """Money, without its unit: that is the price's."""
    shown = fmt.rate(estimate)  # bare numbers are written alike
    return Shown(shown.value, "", shown.interval)


COLUMNS: dict[str, tuple[Metric | None, Callable[[Level], Shown]]] = {
    "p50": (Metric.P50, lambda level: fmt.latency(level.figure(Metric.P50))),
    "p99": (Metric.P99, lambda level: fmt.latency(level.figure(Metric.P99))),
    "throughput": (Metric.THROUGHPUT, lambda level: fmt.rate(level.figure(Metric.THROUGHPUT))),
    "CPU a request": (Metric.CPU, lambda level: fmt.latency(level.cpu_ns_per_request)),
    "peak memory": (None, lambda level: fmt.memory(level.peak_rss_bytes)),
    "cost a million": (Metric.THROUGHPUT, lambda level: _cost(level.cost_per_million)),
}
"""What shows each figure, and the metric that it is doubted with; without one, with its whole row."""


def loads(found: Arena) -> dict[int, list[Row]]:
    """Rows by the number of requests in flight."""
    rows: dict[int, list[Row]] = {}
    for architecture in found.architectures:
        for level in architecture.levels:
            figures = tuple(show(level) for _, show in COLUMNS.values())
            doubts = tuple(level.doubted(metric) for metric, _ in COLUMNS.values())
            row = Row(architecture.name, level.doubted() or not level.cell.rounds, figures, doubts)
            rows.setdefault(level.concurrency, []).append(row)
    return dict(sorted(rows.items()))


def deploying(architecture: Architecture) -> tuple[Shown, Shown, Shown]:
    """Cold start, model load and memory when ready, each with its interval over the starts."""
    started = architecture.deployment
    if started is None:
        return (Shown(NOTHING),) * 3
    return fmt.duration(started.cold_start_ns), fmt.duration(started.model_load_ns), fmt.memory(started.rss_bytes)


def starts(architecture: Architecture) -> str:
    """How often it was started, and how many of those failed."""
    started = architecture.deployment
    if started is None:
        return NOTHING
    return f"{started.starts} ({started.failed} failed)" if started.failed else str(started.starts)


def lines(architecture: Architecture) -> str:
    """What is written, file by file."""
    return ", ".join(f"{each.name} {each.lines}" for each in architecture.written) or NOTHING


def standings(found: Arena) -> list[tuple[int, list[str]]]:
    """Who is best at each load, by every metric in their order."""
    sizes = sorted({each.concurrency for each in found.standings})
    return [(size, [_standing(each) for each in found.standings if each.concurrency == size]) for size in sizes]


def _standing(standing: Standing) -> str:
    if not standing.leaders:
        return NOTHING
    without = f" (without {', '.join(standing.left_out)})" if standing.left_out else ""
    return ", ".join(standing.leaders) + without
