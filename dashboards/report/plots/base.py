"""What all plots share: the bare layout, axes with units, error bars, and texts for the pointer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Any

from dashboards.report.doubts import title
from dashboards.report.series import Look
from dashboards.report.theme import AXIS, GRID, INK, MUTED
from nightbench.figures import Estimate
from nightbench.summary import CellSummary

__all__ = ["NS_PER_MS", "Plot", "axis", "bars", "hover", "layout", "marker", "value_axis"]

NS_PER_MS = 1e6

_LOG_FROM_RATIO = 12.0
"""Latencies further apart than this cannot be read off one linear axis."""

_STRETCH = 2.0
"""How far intervals may stretch the frame beyond the values."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure with the words around it. ``choice`` puts it behind a selector of that name."""

    title: str
    caption: str
    figure: Any
    choice: str = ""
    wide: bool = False


def layout(**more: Any) -> dict[str, Any]:
    """Transparent, without legend (the page has one for all plots), margins left to the axes."""
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "hoverlabel": {"align": "left", "font": {"size": 12}},
        "showlegend": False,
        "height": 360,
        "margin": {"l": 8, "r": 20, "t": 16, "b": 8},
        **more,
    }


def axis(title_text: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title_text, "font": {"size": 12, "color": MUTED}, "standoff": 10},
        "tickfont": {"size": 11, "color": MUTED},
        "gridcolor": GRID,
        "linecolor": AXIS,
        "zerolinecolor": AXIS,
        "showline": True,
        "automargin": True,
        **more,
    }


def value_axis(title_text: str, estimates: Iterable[Estimate], scale: float = 1.0, **more: Any) -> dict[str, Any]:
    """From zero where the values allow one linear axis, else logarithmic with ticks at 1, 2 and 5.

    The frame holds every value. Intervals stretch it only so far: two rounds give intervals so wide that they
    would flatten everything else, and those run out of the frame instead.
    """
    known = [estimate for estimate in estimates if estimate.value > 0]
    if not known:
        return axis(title_text, rangemode="tozero", **more)
    smallest = min(estimate.value for estimate in known) / scale
    largest = max(estimate.value for estimate in known) / scale
    top = max(estimate.value if estimate.high is None else estimate.high for estimate in known) / scale
    top = 1.08 * min(top, _STRETCH * largest)
    if largest / smallest <= _LOG_FROM_RATIO:
        return axis(title_text, range=[0, top], **more)
    bottom = min(estimate.low or estimate.value for estimate in known) / scale
    bottom = max(bottom, smallest / _STRETCH) / 1.15
    ticks = _log_ticks(bottom, top)
    return axis(
        f"{title_text}, log scale",
        type="log",
        range=[log10(bottom), log10(top)],
        tickvals=ticks,
        ticktext=[f"{tick:,.10g}" for tick in ticks],
        **more,
    )


def _log_ticks(bottom: float, top: float) -> list[float]:
    """Whole numbers for labels: plotly itself writes 0.5 and 5 both as a small 5."""
    digits = (1,) if top / bottom > 1e3 else (1, 2, 5)
    decades = range(floor(log10(bottom)), ceil(log10(top)) + 1)
    return [tick for k in decades for digit in digits if bottom <= (tick := float(f"{digit}e{k}")) <= top]


def bars(estimates: Sequence[Estimate], scale: float, colour: str) -> dict[str, Any]:
    """Error bars of 95 % intervals; an unknown bound draws none on its side."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if e.high is None else max(0.0, e.high - e.value) / scale for e in estimates],
        "arrayminus": [0.0 if e.low is None else max(0.0, e.value - e.low) / scale for e in estimates],
        "color": colour,
        "thickness": 1.4,
        "width": 4,
    }


def marker(cells: Sequence[CellSummary], look: Look, quantile: str = "", size: int = 9) -> dict[str, Any]:
    """The series' marker, hollow where the cell, or the ``quantile`` that is drawn of it, is doubted."""

    def doubted(cell: CellSummary) -> bool:
        return cell.doubted or any(quantile in doubt.figures for doubt in cell.doubts)

    return {
        "symbol": [look.symbol + ("-open" if doubted(cell) else "") for cell in cells],
        "size": size,
        "color": look.colour,
        "line": {"width": 1.8, "color": look.colour},
    }


def hover(cell: CellSummary, look: Look, *lines: str) -> str:
    """Plotly reads a little HTML in these texts, so everything from outside is escaped."""
    doubts = ", ".join(title(doubt.reason) for doubt in cell.doubts)
    parts = [f"<b>{escape(look.label)}</b>", f"{escape(cell.model)} · {escape(cell.load.label)}", *map(escape, lines)]
    return "<br>".join([*parts, f"doubted: {doubts}"] if doubts else parts)
