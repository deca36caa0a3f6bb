"""What it takes to have a server at all: time to the first answer, and memory when idle."""

from collections.abc import Sequence
from html import escape
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.plots.base import axis, bars, layout
from dashboards.report.series import Looks, setup_names
from dashboards.report.theme import INK, MUTED, band
from nightbench.figures import Estimate
from nightbench.summary import DeploymentSummary

__all__ = ["memory", "start"]

_NS_PER_S = 1e9
_MIB = 2.0**20


def start(setups: Sequence[DeploymentSummary], looks: Looks) -> Any | None:
    """Cold start (solid) and the model load within it (light), in seconds, a pair of bars a setup."""
    return _bars(
        setups,
        looks,
        title="seconds",
        scale=_NS_PER_S,
        figures=[
            ("cold start", [setup.cold_start_ns for setup in setups], fmt.duration),
            ("model load", [setup.model_load_ns for setup in setups], fmt.duration),
        ],
    )


def memory(setups: Sequence[DeploymentSummary], looks: Looks) -> Any | None:
    """Resident memory of the whole process tree when ready, in MiB."""
    return _bars(
        setups,
        looks,
        title="resident memory (MiB)",
        scale=_MIB,
        figures=[("memory", [setup.rss_bytes for setup in setups], fmt.memory)],
    )


def _bars(
    setups: Sequence[DeploymentSummary],
    looks: Looks,
    *,
    title: str,
    scale: float,
    figures: Sequence[tuple[str, Sequence[Estimate | None], Any]],
) -> Any | None:
    import plotly.graph_objects as go

    if not any(estimate for _, estimates, _ in figures for estimate in estimates):
        return None
    # Plotly reads HTML in the names on an axis.
    names = [escape(name) for name in setup_names(setups)]
    traces = []
    # Horizontal groups are stacked upwards, so the last one drawn stands on top.
    for at, (what, estimates, show) in reversed(list(enumerate(figures))):
        for name, setup, estimate in zip(names, setups, estimates, strict=True):
            if estimate is None:
                continue
            colour = looks.colour(setup.server)
            traces.append(
                go.Bar(
                    name=f"{name} {what}",
                    offsetgroup=what,
                    orientation="h",
                    x=[estimate.value / scale],
                    y=[name],
                    error_x=bars([estimate], scale, INK),
                    marker={"color": band(colour) if at else colour, "line": {"color": colour, "width": 1.2}},
                    hovertext=[f"<b>{name}</b><br>{what} {show(estimate)}<br>{_starts(setup)}"],
                    hoverinfo="text",
                )
            )
    return go.Figure(
        traces,
        layout(
            height=100 + 44 * len(setups),
            barmode="group",
            bargap=0.3,
            xaxis=axis(title, rangemode="tozero"),
            # Setups that never came up keep their row: the gap is a result.
            yaxis=axis(
                "", type="category", categoryorder="array", categoryarray=names[::-1], range=[-0.5, len(names) - 0.5]
            ),
            annotations=[
                {
                    "x": 0,
                    "y": name,
                    "text": "never came up",
                    "xanchor": "left",
                    "showarrow": False,
                    "xshift": 4,
                    "font": {"size": 11, "color": MUTED},
                }
                for name, setup in zip(names, setups, strict=True)
                if setup.failed == setup.starts
            ],
        ),
    )


def _starts(setup: DeploymentSummary) -> str:
    return f"{setup.starts - setup.failed} of {setup.starts} starts succeeded"
