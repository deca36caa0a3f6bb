"""Latency, or inferences a second, over batch size: what putting inputs together costs, and what it buys."""

from collections.abc import Callable, Iterable
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.pareto import inferences
from dashboards.report.plots.base import NS_PER_MS, axis, bars, hover, layout, marker, value_axis
from dashboards.report.series import Look, Looks
from nightbench.figures import Estimate
from nightbench.summary import CellSummary

__all__ = ["latency", "throughput"]

_Figure = Callable[[CellSummary], Estimate | None]


def latency(cells: Iterable[CellSummary], quantile: str, looks: Looks) -> Any | None:
    """``quantile`` (ms) of a whole request over its batch size; ``None`` if no cell carries it."""
    return _figure(
        cells,
        looks,
        lambda cell: cell.latency_ns.get(quantile),
        fmt.latency,
        quantile,
        f"{quantile} latency of a request (ms)",
        NS_PER_MS,
    )


def throughput(cells: Iterable[CellSummary], looks: Looks) -> Any | None:
    """Inferences a second over batch size."""
    return _figure(cells, looks, inferences, fmt.rate, "throughput_rps", "inferences a second", 1.0)


def _figure(
    cells: Iterable[CellSummary],
    looks: Looks,
    figure: _Figure,
    show: Callable[[Estimate], fmt.Shown],
    name: str,
    title: str,
    scale: float,
) -> Any | None:
    import plotly.graph_objects as go

    known = [(cell, estimate) for cell in cells if (estimate := figure(cell)) is not None]
    if not known:
        return None
    series: dict[str, tuple[Look, list[tuple[CellSummary, Estimate]]]] = {}
    for cell, estimate in known:
        look = looks.of(cell)
        series.setdefault(look.label, (look, []))[1].append((cell, estimate))
    traces = []
    for look, group in (series[label] for label in sorted(series)):
        group.sort(key=lambda pair: pair[0].batch)
        traces.append(
            go.Scatter(
                name=look.label,
                legendgroup=look.label,
                mode="lines+markers",
                x=[cell.batch for cell, _ in group],
                y=[estimate.value / scale for _, estimate in group],
                error_y=bars([estimate for _, estimate in group], scale, look.colour),
                line={"color": look.colour, "width": 2, "dash": look.dash},
                marker=marker([cell for cell, _ in group], look, name),
                cliponaxis=False,
                hovertext=[
                    hover(cell, look, f"batch {cell.batch}", f"{title} {show(estimate)}") for cell, estimate in group
                ],
                hoverinfo="text",
            )
        )
    sizes = sorted({cell.batch for cell, _ in known})
    return go.Figure(
        traces,
        layout(
            xaxis=axis("batch size", type="log", tickvals=sizes, ticktext=[str(size) for size in sizes]),
            yaxis=value_axis(title, [estimate for _, estimate in known], scale),
        ),
    )
