"""A night as one picture for its page in Prefect: each cell's throughput, with its interval."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from dashboards.report.format import rate
from dashboards.report.series import setup_names
from nightbench.summary import CellSummary

__all__ = ["MOST_ROWS", "data_uri", "throughput_svg"]

MOST_ROWS = 40
"""More do not fit a page; the report has them all."""
_ROW, _BAR_HEIGHT, _TOP, _LEFT, _BARS, _WIDTH = 40, 12, 34, 8, 560, 720
_INK, _BAR, _DOUBTED, _WHISKER = "#1f2937", "#3b82f6", "#d1d5db", "#111827"


def throughput_svg(cells: Sequence[CellSummary]) -> str:
    """Horizontal bars, grey where the cell is doubted, a line for the 95 % interval; on white, which reads on any page.

    Empty if nothing was measured.
    """
    rows = [
        (name, cell, cell.throughput_rps)
        for name, cell in zip(setup_names(cells), cells, strict=True)
        if cell.throughput_rps is not None
    ]
    if not rows:
        return ""
    most = max(figure.high if figure.high is not None else figure.value for _, _, figure in rows) or 1.0
    drawn, height = [], _TOP + _ROW * min(len(rows), MOST_ROWS) + 10
    for number, (name, cell, figure) in enumerate(rows[:MOST_ROWS]):
        top = _TOP + _ROW * number
        y, middle = top + 20, top + 20 + _BAR_HEIGHT / 2
        label = escape(f"{name} · {cell.model} · {cell.load.label} · batch {cell.batch}")
        shown = rate(figure)
        drawn.append(_text(_LEFT, top + 10, label))
        fill = _DOUBTED if cell.doubted else _BAR
        wide = _BARS * figure.value / most
        drawn.append(f'<rect x="{_LEFT}" y="{y}" width="{wide:.1f}" height="{_BAR_HEIGHT}" fill="{fill}"/>')
        end = wide
        if figure.low is not None and figure.high is not None:
            low, end = _BARS * figure.low / most, _BARS * figure.high / most
            drawn.append(
                f'<path d="M{_LEFT + low:.1f} {middle}H{_LEFT + end:.1f}" stroke="{_WHISKER}" stroke-width="2"/>'
            )
        drawn.append(_text(_LEFT + max(wide, end) + 6, middle, escape(f"{shown.value} {shown.unit}")))
    heading = _text(_LEFT, 16, "Throughput; the line is the 95 % interval, grey is doubted")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>{heading}'
        f"{''.join(drawn)}</svg>"
    )


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y + 4:.1f}" fill="{_INK}">{words}</text>'


def data_uri(svg: str) -> str:
    """The picture as an address that needs no server."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
