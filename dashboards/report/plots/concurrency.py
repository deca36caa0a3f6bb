"""Latency against concurrency, closed loops, with the interval of each point as a band."""

from collections.abc import Iterable, Sequence
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.plots.base import NS_PER_MS, axis, bars, hover, layout, marker, value_axis
from dashboards.report.plots.group import by_series, concurrency
from dashboards.report.series import Look, Looks
from dashboards.report.theme import band
from nightbench.figures import Estimate
from nightbench.summary import CellSummary

__all__ = ["figure"]


def figure(cells: Iterable[CellSummary], quantile: str, looks: Looks) -> Any | None:
    """``quantile`` (ms) over requests in flight, one line a series; ``None`` if no cell carries it."""
    import plotly.graph_objects as go

    usable = [cell for cell in cells if concurrency(cell) is not None and quantile in cell.latency_ns]
    if not usable:
        return None
    traces = []
    for look, group in by_series(usable, looks):
        steps = [concurrency(cell) or 0 for cell in group]
        delays = [cell.latency_ns[quantile] for cell in group]
        if len(group) > 1:
            traces.append(_band(look, steps, delays))
        traces.append(
            go.Scatter(
                name=look.label,
                legendgroup=look.label,
                mode="lines+markers",
                x=steps,
                y=[delay.value / NS_PER_MS for delay in delays],
                error_y=bars(delays, NS_PER_MS, look.colour) if len(group) == 1 else None,
                line={"color": look.colour, "width": 2, "dash": look.dash},
                marker=marker(group, look, quantile),
                cliponaxis=False,
                hovertext=[
                    hover(cell, look, f"{quantile} {fmt.latency(delay)}")
                    for cell, delay in zip(group, delays, strict=True)
                ],
                hoverinfo="text",
            )
        )
    steps = sorted({concurrency(cell) or 0 for cell in usable})
    return go.Figure(
        traces,
        layout(
            # Concurrency is stepped by factors, so equal factors take equal room.
            xaxis=axis("requests in flight", type="log", tickvals=steps, ticktext=[str(step) for step in steps]),
            yaxis=value_axis(f"{quantile} latency (ms)", [cell.latency_ns[quantile] for cell in usable], NS_PER_MS),
        ),
    )


def _band(look: Look, steps: Sequence[int], delays: Sequence[Estimate]) -> Any:
    """The area between the bounds; where a bound is unknown it runs through the value."""
    import plotly.graph_objects as go

    high = [(delay.value if delay.high is None else delay.high) / NS_PER_MS for delay in delays]
    low = [(delay.value if delay.low is None else delay.low) / NS_PER_MS for delay in delays]
    return go.Scatter(
        name=look.label,
        legendgroup=look.label,
        mode="lines",
        x=[*steps, *reversed(steps)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=band(look.colour),
        line={"width": 0, "color": look.colour},
        hoverinfo="skip",
    )
