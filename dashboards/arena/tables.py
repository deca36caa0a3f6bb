"""The answers as rows of text, for the page and for terminals alike."""

from collections.abc import Callable
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.format import NOTHING, Shown
from nightbench.arena import Architecture, Arena, Level, Metric
from nightbench.figures import Estimate

__all__ = ["COLUMNS", "Row", "deploying", "lines", "loads", "standings"]


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture under one load."""

    architecture: str
    doubted: bool
    figures: tuple[Shown, ...]
    """In the order of `COLUMNS`."""


def _cost(estimate: Estimate | None) -> Shown:
    """Money, without its unit: that is the price's."""
    shown = fmt.rate(estimate)  # bare numbers are written alike
    return Shown(shown.value, "", shown.interval)


COLUMNS: dict[str, Callable[[Level], Shown]] = {
    "p50": lambda level: fmt.latency(level.figure(Metric.P50)),
    "p99": lambda level: fmt.latency(level.figure(Metric.P99)),
    "throughput": lambda level: fmt.rate(level.figure(Metric.THROUGHPUT)),
    "CPU a request": lambda level: fmt.latency(level.cpu_ns_per_request),
    "peak memory": lambda level: fmt.memory(level.peak_rss_bytes),
    "cost a million": lambda level: _cost(level.cost_per_million),
}


def loads(found: Arena) -> dict[int, list[Row]]:
    """Rows by the number of requests in flight."""
    rows: dict[int, list[Row]] = {}
    for architecture in found.architectures:
        for level in architecture.levels:
            figures = tuple(show(level) for show in COLUMNS.values())
            row = Row(architecture.name, level.cell.doubted or not level.cell.rounds, figures)
            rows.setdefault(level.concurrency, []).append(row)
    return dict(sorted(rows.items()))


def deploying(architecture: Architecture) -> tuple[Shown, Shown, Shown]:
    """Cold start, model load and memory when ready, each with its interval over the starts."""
    started = architecture.deployment
    if started is None:
        return (Shown(NOTHING),) * 3
    return fmt.duration(started.cold_start_ns), fmt.duration(started.model_load_ns), fmt.memory(started.rss_bytes)


def lines(architecture: Architecture) -> str:
    """What is written, file by file."""
    return ", ".join(f"{each.name} {each.lines}" for each in architecture.written) or NOTHING


def standings(found: Arena) -> list[tuple[int, list[str]]]:
    """Who is best at each load, by every metric in their order."""
    sizes = sorted({each.concurrency for each in found.standings})
    return [
        (size, [", ".join(each.leaders) or NOTHING for each in found.standings if each.concurrency == size])
        for size in sizes
    ]
