"""Latency against throughput, closed loops: what each step of concurrency buys, and what it costs."""

from collections.abc import Iterable
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.plots.base import NS_PER_MS, bars, hover, layout, marker, value_axis
from dashboards.report.plots.group import by_series, concurrency
from dashboards.report.series import Looks
from nightbench.summary import CellSummary

__all__ = ["figure"]


def figure(cells: Iterable[CellSummary], quantile: str, looks: Looks) -> Any | None:
    """``quantile`` (ms) over successful requests a second, one line a series; ``None`` if no cell has both."""
    import plotly.graph_objects as go

    usable = [
        c for c in cells if concurrency(c) is not None and c.throughput_rps is not None and quantile in c.latency_ns
    ]
    if not usable:
        return None
    traces = []
    for look, group in by_series(usable, looks):
        rates = [cell.throughput_rps for cell in group if cell.throughput_rps is not None]
        delays = [cell.latency_ns[quantile] for cell in group]
        traces.append(
            go.Scatter(
                name=look.label,
                legendgroup=look.label,
                mode="lines+markers+text",
                x=[rate.value for rate in rates],
                y=[delay.value / NS_PER_MS for delay in delays],
                error_x=bars(rates, 1, look.colour),
                error_y=bars(delays, NS_PER_MS, look.colour),
                line={"color": look.colour, "width": 1.5, "dash": look.dash},
                marker=marker(group, look, quantile),
                text=[f"c{concurrency(cell)}" for cell in group],
                textposition="bottom right",
                textfont={"size": 10, "color": look.colour},
                cliponaxis=False,
                hovertext=[
                    hover(cell, look, f"{fmt.rate(rate)}", f"{quantile} {fmt.latency(delay)}")
                    for cell, rate, delay in zip(group, rates, delays, strict=True)
                ],
                hoverinfo="text",
            )
        )
    rates = [cell.throughput_rps for cell in usable if cell.throughput_rps is not None]
    delays = [cell.latency_ns[quantile] for cell in usable]
    return go.Figure(
        traces,
        layout(
            xaxis=value_axis("throughput (successful requests a second)", rates),
            yaxis=value_axis(f"{quantile} latency (ms)", delays, NS_PER_MS),
        ),
    )
