"""Latency under an offered rate, open loops: what users would feel who do not wait for each other."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.plots.base import NS_PER_MS, axis, bars, hover, layout, marker, value_axis
from dashboards.report.plots.group import by_series, offered_rps
from dashboards.report.series import Look, Looks
from dashboards.report.theme import band
from nightbench.figures import Estimate
from nightbench.summary import CellSummary

__all__ = ["figure"]

_QUANTILES = ("p50", "p99")


def figure(cells: Iterable[CellSummary], looks: Looks) -> Any | None:
    """p50 and p99 (ms) over the offered rate; with a single rate, one row a series. ``None`` without open loops."""
    usable = [cell for cell in cells if offered_rps(cell) is not None and cell.latency_ns]
    if not usable:
        return None
    series = by_series(usable, looks)
    delays = [cell.latency_ns[name] for cell in usable for name in _QUANTILES if name in cell.latency_ns]
    several_rates = len({(offered_rps(cell)) for cell in usable}) > 1
    return _over_rates(series, delays) if several_rates else _rows(series, delays)


def _over_rates(series: Sequence[tuple[Look, list[CellSummary]]], shown: Sequence[Estimate]) -> Any:
    import plotly.graph_objects as go

    traces = []
    for look, group in series:
        for quantile, width in zip(_QUANTILES, (1.2, 2.4), strict=True):
            cells = [cell for cell in group if quantile in cell.latency_ns]
            delays = [cell.latency_ns[quantile] for cell in cells]
            traces.append(
                go.Scatter(
                    name=f"{look.label} {quantile}",
                    legendgroup=look.label,
                    mode="lines+markers",
                    x=[offered_rps(cell) for cell in cells],
                    y=[delay.value / NS_PER_MS for delay in delays],
                    error_y=bars(delays, NS_PER_MS, look.colour),
                    line={"color": look.colour, "width": width, "dash": look.dash},
                    marker=marker(cells, look, quantile, size=7 if quantile == "p50" else 10),
                    cliponaxis=False,
                    hovertext=_texts(cells, look, quantile),
                    hoverinfo="text",
                )
            )
    return go.Figure(
        traces,
        layout(
            xaxis=axis("offered rate (requests a second)", rangemode="tozero"),
            yaxis=value_axis("latency (ms)", shown, NS_PER_MS),
        ),
    )


def _rows(series: Sequence[tuple[Look, list[CellSummary]]], shown: Sequence[Estimate]) -> Any:
    import plotly.graph_objects as go

    traces = []
    for look, group in series:
        cell = group[0]
        names = [name for name in _QUANTILES if name in cell.latency_ns]
        delays = [cell.latency_ns[name] for name in names]
        traces.append(
            go.Scatter(
                name=look.label,
                legendgroup=look.label,
                mode="lines+markers+text",
                x=[delay.value / NS_PER_MS for delay in delays],
                y=[escape(look.label)] * len(names),
                error_x=bars(delays, NS_PER_MS, look.colour),
                # The link only says what belongs together; the error bars must stay visible on it.
                line={"color": band(look.colour), "width": 9},
                marker=marker([cell] * len(names), look),
                text=names,
                textposition="top center",
                textfont={"size": 10, "color": look.colour},
                cliponaxis=False,
                hovertext=[_texts([cell], look, name)[0] for name in names],
                hoverinfo="text",
            )
        )
    return go.Figure(
        traces,
        layout(
            height=110 + 46 * len(series),
            xaxis=value_axis("latency (ms)", shown, NS_PER_MS),
            yaxis=axis("", type="category", range=[len(series) - 0.5, -0.7], showline=False),
        ),
    )


def _texts(cells: Sequence[CellSummary], look: Look, quantile: str) -> list[str]:
    return [hover(cell, look, f"{quantile} {fmt.latency(cell.latency_ns[quantile])}") for cell in cells]
