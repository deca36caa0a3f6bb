"""Latency against throughput, closed loops: what each step of load buys, what it costs, and who is beaten by nobody."""

from collections.abc import Iterable, Sequence
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.pareto import front, inferences
from dashboards.report.plots.base import NS_PER_MS, bars, hover, layout, marker, value_axis
from dashboards.report.plots.group import by_series, concurrency
from dashboards.report.series import Look, Looks
from dashboards.report.theme import MUTED
from nightbench.summary import CellSummary

__all__ = ["FRONT", "figure"]

FRONT = "Pareto front"


def figure(cells: Iterable[CellSummary], quantile: str, looks: Looks) -> Any | None:
    """``quantile`` (ms) over inferences a second, one line a series and batch size, and the Pareto front as a dotted
    staircase; ``None`` if no cell has both."""
    import plotly.graph_objects as go

    usable = [c for c in cells if inferences(c) is not None and quantile in c.latency_ns]
    if not usable:
        return None
    several = len({cell.batch for cell in usable}) > 1
    traces = [
        _line(look, own, quantile, batches=several)
        for look, group in by_series(usable, looks)
        for batch in sorted({cell.batch for cell in group})
        if (own := [cell for cell in group if cell.batch == batch])
    ]
    best = front(usable, quantile)
    if len(best) > 1:
        traces.append(_staircase(best, quantile))
    rates = [rate for cell in usable if (rate := inferences(cell)) is not None]
    what = "inferences" if several else "successful requests"
    return go.Figure(
        traces,
        layout(
            height=420,
            xaxis=value_axis(f"throughput ({what} a second)", rates),
            yaxis=value_axis(f"{quantile} latency (ms)", [cell.latency_ns[quantile] for cell in usable], NS_PER_MS),
        ),
    )


def _line(look: Look, group: Sequence[CellSummary], quantile: str, *, batches: bool) -> Any:
    import plotly.graph_objects as go

    rates = [rate for cell in group if (rate := inferences(cell)) is not None]
    delays = [cell.latency_ns[quantile] for cell in group]
    return go.Scatter(
        name=look.label,
        legendgroup=look.label,
        mode="lines+markers+text",
        x=[rate.value for rate in rates],
        y=[delay.value / NS_PER_MS for delay in delays],
        error_x=bars(rates, 1, look.colour),
        error_y=bars(delays, NS_PER_MS, look.colour),
        line={"color": look.colour, "width": 1.5, "dash": look.dash},
        marker=marker(group, look, quantile),
        text=[_label(cell, batches=batches) for cell in group],
        textposition="bottom right",
        textfont={"size": 10, "color": look.colour},
        cliponaxis=False,
        hovertext=[
            hover(cell, look, f"batch {cell.batch}", f"{fmt.bare(rate)} a second", f"{quantile} {fmt.latency(delay)}")
            for cell, rate, delay in zip(group, rates, delays, strict=True)
        ],
        hoverinfo="text",
    )


def _label(cell: CellSummary, *, batches: bool) -> str:
    """``c4``, or ``c4 b8`` where batches differ."""
    size = f"c{concurrency(cell)}"
    return f"{size} b{cell.batch}" if batches and cell.batch > 1 else size


def _staircase(best: Sequence[CellSummary], quantile: str) -> Any:
    """Everything above and left of it is beaten in both."""
    import plotly.graph_objects as go

    return go.Scatter(
        name=FRONT,
        mode="lines",
        x=[rate.value for cell in best if (rate := inferences(cell)) is not None],
        y=[cell.latency_ns[quantile].value / NS_PER_MS for cell in best],
        line={"color": MUTED, "width": 1.5, "dash": "dot", "shape": "vh"},
        hoverinfo="skip",
    )
