"""The way of a search: what each load it tried gave, and where it ended."""

from collections.abc import Sequence
from html import escape
from typing import Any

from dashboards.report import format as fmt
from dashboards.report.doubts import title
from dashboards.report.plots.base import NS_PER_MS, axis, bars, layout, value_axis
from dashboards.report.plots.group import by_series
from dashboards.report.series import Look, Looks
from dashboards.report.theme import MUTED
from nightbench.figures import Estimate, SearchFigures, SearchStep
from nightbench.load import ClosedLoop, Goal, Search
from nightbench.summary import CellSummary

__all__ = ["figure"]


def figure(cells: Sequence[CellSummary], looks: Looks) -> Any | None:
    """The steps of cells that share one search, a line a round, its answer large.

    Throughput over concurrency; for a bound on p99, p99 (ms) over the offered rate. ``None`` without steps to draw.
    """
    import plotly.graph_objects as go

    search = cells[0].load
    if not isinstance(search, Search):
        return None
    bounded = search.goal is Goal.SLO
    traces, shown = [], []
    for look, group in by_series(cells, looks):
        for cell in group:
            for record in cell.measurements:
                if record.search is None:
                    continue
                drawn = sorted((step for step in record.search.steps if _figure(step, bounded)), key=_size)
                if not drawn:
                    continue
                shown += [estimate for step in drawn if (estimate := _figure(step, bounded))]
                traces.append(_line(record.search, drawn, look, f"round {record.round}", bounded=bounded))
    if not shown:
        return None
    sizes = sorted({size for trace in traces for size in trace.x})
    if not bounded:
        # Concurrency is stepped by factors, so equal factors take equal room.
        x = axis("requests in flight", type="log", tickvals=sizes, ticktext=[f"{size:g}" for size in sizes])
        return go.Figure(traces, layout(xaxis=x, yaxis=value_axis("throughput (successful requests a second)", shown)))
    bound = Estimate((search.p99_ms or 0.0) * NS_PER_MS)
    traces.append(
        go.Scatter(
            name="bound",
            mode="lines",
            x=[sizes[0], sizes[-1]],
            y=[search.p99_ms] * 2,
            line={"color": MUTED, "width": 1.4, "dash": "dot"},
            hovertext=f"the bound, {search.p99_ms:g} ms",
            hoverinfo="text",
        )
    )
    x = axis("offered rate (requests a second)", rangemode="tozero")
    return go.Figure(traces, layout(xaxis=x, yaxis=value_axis("p99 latency (ms)", [*shown, bound], NS_PER_MS)))


def _line(found: SearchFigures, steps: Sequence[SearchStep], look: Look, which: str, *, bounded: bool) -> Any:
    import plotly.graph_objects as go

    estimates = [estimate for step in steps if (estimate := _figure(step, bounded))]
    scale = NS_PER_MS if bounded else 1.0
    answer = found.steps[found.chosen] if found.chosen < len(found.steps) else None
    return go.Scatter(
        name=look.label,
        legendgroup=look.label,
        mode="lines+markers",
        x=[_size(step) for step in steps],
        y=[estimate.value / scale for estimate in estimates],
        error_y=bars(estimates, scale, look.colour),
        line={"color": look.colour, "width": 1.2, "dash": look.dash},
        marker={
            "symbol": [look.symbol + "-open" * bool(step.doubts) for step in steps],
            "size": [13 if step is answer else 6 for step in steps],
            "color": look.colour,
            "line": {"width": 1.6, "color": look.colour},
        },
        cliponaxis=False,
        hovertext=[_text(step, look, which, is_answer=step is answer) for step in steps],
        hoverinfo="text",
    )


def _text(step: SearchStep, look: Look, which: str, *, is_answer: bool) -> str:
    doubts = ", ".join(title(doubt.reason) for doubt in step.doubts)
    parts = [
        f"<b>{escape(look.label)}</b> {which}",
        f"{escape(step.load.label)}{' (the answer)' * is_answer}",
        str(fmt.rate(step.throughput_rps)),
        *(f"{name} {fmt.latency(estimate)}" for name, estimate in step.latency_ns.items() if name in {"p50", "p99"}),
    ]
    return "<br>".join([*parts, f"doubted: {doubts}"] if doubts else parts)


def _figure(step: SearchStep, bounded: bool) -> Estimate | None:
    """What is drawn of a step. A search for a rate looks about with a closed loop first, which has none."""
    if bounded and isinstance(step.load, ClosedLoop):
        return None
    return step.latency_ns.get("p99") if bounded else step.throughput_rps


def _size(step: SearchStep) -> float:
    return step.load.concurrency if isinstance(step.load, ClosedLoop) else step.load.rate_rps
