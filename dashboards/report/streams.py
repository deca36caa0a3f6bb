"""Streamed answers as rows of ready text."""

from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.series import Looks
from nightbench.summary import CellSummary, NightSummary, StreamSummary

__all__ = ["StreamGroup", "StreamRow", "bounds", "streams"]

_QUANTILES = ("p50", "p99")
_BOUNDS = {"ttft_ms": "first token", "itl_ms": "mean gap"}


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One cell. ``figures`` are p50 and p99 of the first token and of the gaps, then tokens a second and goodput."""

    name: str
    colour: str
    doubted: bool
    figures: tuple[fmt.Shown, ...]


@dataclass(frozen=True, slots=True)
class StreamGroup:
    model: str
    load: str
    batch: int
    rows: tuple[StreamRow, ...]


def streams(night: NightSummary, looks: Looks) -> list[StreamGroup]:
    """Every cell whose answers were streamed, in the night's reading order."""
    groups: dict[tuple[str, str, int], list[StreamRow]] = {}
    for cell in night.cells:
        if cell.stream is not None:
            row = _row(cell, cell.stream, looks)
            groups.setdefault((cell.model, cell.load.label, cell.batch), []).append(row)
    return [StreamGroup(model, load, batch, tuple(rows)) for (model, load, batch), rows in groups.items()]


def bounds(night: NightSummary) -> str:
    """What goodput had to keep, in words; empty where nothing was asked."""
    slo = next((cell.stream.slo for cell in night.cells if cell.stream and cell.stream.slo), {})
    return " and ".join(f"{_BOUNDS.get(name, name)} within {bound:g} ms" for name, bound in slo.items())


def _row(cell: CellSummary, stream: StreamSummary, looks: Looks) -> StreamRow:
    look = looks.of(cell)
    return StreamRow(
        name=look.label,
        colour=look.colour,
        doubted=cell.doubted,
        figures=(
            *(fmt.latency(stream.ttft_ns.get(name)) for name in _QUANTILES),
            *(fmt.latency(stream.itl_ns.get(name)) for name in _QUANTILES),
            # As bare as a rate: the column names what is counted.
            fmt.rate(stream.tokens_per_s),
            fmt.rate(stream.goodput_rps),
        ),
    )
