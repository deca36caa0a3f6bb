"""The whole latency distribution on an axis of nines, as HdrHistogram's own plots draw it."""

from collections.abc import Iterable
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.plots.base import NS_PER_MS, axis, bars, hover, layout, marker, value_axis
from dashboards.report.plots.group import by_series
from dashboards.report.series import Look, Looks
from nightbench.figures import Estimate
from nightbench.histogram import LatencyHistogram
from nightbench.summary import CellSummary

__all__ = ["figure"]

_POINTS = 120
_SHARES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_TICKS = {1: "0", 2: "50", 4: "75", 10: "90", 20: "95", 100: "99", 1_000: "99.9", 10_000: "99.99", 100_000: "99.999"}


def figure(cells: Iterable[CellSummary], looks: Looks) -> Any | None:
    """Latency (ms) over percentile, one line a series and its reported quantiles on it; cells of one load."""
    import plotly.graph_objects as go

    usable = [cell for cell in cells if cell.histogram]
    curves = {cell.cell_key: _curve(cell) for cell in usable}
    values = [latency for curve in curves.values() for _, latency in curve]
    if not values:
        return None
    traces = []
    for look, group in by_series(usable, looks):
        for cell in group:
            curve = curves[cell.cell_key]
            traces.append(
                go.Scatter(
                    name=look.label,
                    legendgroup=look.label,
                    mode="lines",
                    x=[nines for nines, _ in curve],
                    y=[latency for _, latency in curve],
                    line={
                        "color": look.colour,
                        "width": 2,
                        "dash": "dot" if cell.doubted else look.dash,
                        "shape": "hv",
                    },
                    hoverinfo="skip",
                )
            )
            traces.append(_quantiles(cell, look))
    last = max(nines for curve in curves.values() for nines, _ in curve)
    ticks = [tick for tick in _TICKS if tick <= last * 1.01]
    return go.Figure(
        traces,
        layout(
            xaxis=axis(
                "percentile of successful requests (%)", type="log", tickvals=ticks, ticktext=[_TICKS[t] for t in ticks]
            ),
            yaxis=value_axis("latency (ms)", [Estimate(value) for value in values]),
        ),
    )


def _curve(cell: CellSummary) -> list[tuple[float, float]]:
    """Points ``(1 / (1 - share), ms)``; the slowest request has no such place and is left out."""
    points = LatencyHistogram.decode(cell.histogram).curve(_POINTS)
    return [(1 / (1 - share), latency_ns / NS_PER_MS) for share, latency_ns in points if share < 1]


def _quantiles(cell: CellSummary, look: Look) -> Any:
    import plotly.graph_objects as go

    names = [name for name in _SHARES if name in cell.latency_ns]
    estimates = [cell.latency_ns[name] for name in names]
    return go.Scatter(
        name=look.label,
        legendgroup=look.label,
        mode="markers",
        x=[1 / (1 - _SHARES[name]) for name in names],
        y=[estimate.value / NS_PER_MS for estimate in estimates],
        error_y=bars(estimates, NS_PER_MS, look.colour),
        marker=marker([cell] * len(names), look, size=7),
        cliponaxis=False,
        hovertext=[
            hover(cell, look, f"{name} {fmt.latency(estimate)}")
            for name, estimate in zip(names, estimates, strict=True)
        ],
        hoverinfo="text",
    )
