"""What the load does to each architecture, drawn."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.plots import concurrency, throughput
from dashboards.report.plots.base import Plot, axis, bars, hover, layout, marker, value_axis
from dashboards.report.plots.group import by_series
from dashboards.report.series import Looks
from nightbench.arena import Arena
from nightbench.load import ClosedLoop
from nightbench.summary import CellSummary, NightSummary

__all__ = ["Drawn", "drawn"]


@dataclass(frozen=True, slots=True)
class Drawn:
    looks: Looks
    plots: tuple[Plot, ...]


def drawn(night: NightSummary, found: Arena) -> Drawn:
    """Latency and throughput by load, one line an architecture."""
    cells = tuple(level.cell for each in found.architectures for level in each.levels)
    looks = Looks(replace(night, cells=cells, deployments=()))
    figures = [
        *(
            (
                f"{name} latency",
                f"{name} in milliseconds over requests in flight; the band is its 95 % interval.",
                concurrency.figure(cells, name, looks),
            )
            for name in ("p50", "p99")
        ),
        ("throughput", "Successful requests a second over requests in flight.", _rates(cells, looks)),
        (
            "p50 latency against throughput",
            "Right is more work done, down is sooner answered; labels are requests in flight.",
            throughput.figure(cells, "p50", looks),
        ),
    ]
    plots = (
        Plot(title, f"{caption} Hollow markers are doubted.", figure)
        for title, caption, figure in figures
        if figure is not None
    )
    return Drawn(looks, tuple(plots))


def _rates(cells: Iterable[CellSummary], looks: Looks) -> Any | None:
    import plotly.graph_objects as go

    usable = [each for each in cells if each.throughput_rps is not None and isinstance(each.load, ClosedLoop)]
    if not usable:
        return None
    traces = []
    for look, group in by_series(usable, looks):
        rates = [cell.throughput_rps for cell in group if cell.throughput_rps is not None]
        traces.append(
            go.Scatter(
                name=look.label,
                legendgroup=look.label,
                mode="lines+markers",
                x=[cell.load.size for cell in group],
                y=[rate.value for rate in rates],
                error_y=bars(rates, 1, look.colour),
                line={"color": look.colour, "width": 2, "dash": look.dash},
                marker=marker(group, look),
                cliponaxis=False,
                hovertext=[hover(cell, look, f"{fmt.rate(rate)}") for cell, rate in zip(group, rates, strict=True)],
                hoverinfo="text",
            )
        )
    steps = sorted({cell.load.size for cell in usable})
    return go.Figure(
        traces,
        layout(
            xaxis=axis("requests in flight", type="log", tickvals=steps, ticktext=[f"{step:g}" for step in steps]),
            yaxis=value_axis(
                "successful requests a second", [each.throughput_rps for each in usable if each.throughput_rps]
            ),
        ),
    )
