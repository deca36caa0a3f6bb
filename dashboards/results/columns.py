"""The columns of a run's results: what each means, its type, and how it is read from a cell.

Names carry units. A figure has two neighbours, ``_low`` and ``_high``: its 95 % interval, empty where the data cannot
give a bound.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.report import format as fmt
from dashboards.report.series import launcher_of
from dashboards.results.subject import Subject
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, OpenLoop, PeakShare, Search
from nightbench.summary import StreamSummary

__all__ = ["COLUMNS", "Column", "Value", "row"]

Value = str | int | float | None
Kind = Literal["text", "integer", "number"]

_NS_PER_MS = 1e6
_QUANTILES = ("p50", "p90", "p95", "p99")
_TAIL = ("p50", "p99")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind
    meaning: str
    read: Callable[[Subject], Value]


def row(subject: Subject) -> dict[str, Value]:
    return {column.name: column.read(subject) for column in COLUMNS}


def _figure(
    name: str, meaning: str, read: Callable[[Subject], Estimate | None], scale: float = 1.0
) -> Iterator[Column]:
    """A figure and its two bounds."""

    def part(which: str) -> Callable[[Subject], Value]:
        def value(subject: Subject) -> Value:
            estimate = read(subject)
            found: float | None = getattr(estimate, which) if estimate is not None else None
            return None if found is None else found / scale

        return value

    yield Column(name, "number", meaning, part("value"))
    yield Column(f"{name}_low", "number", f"lower bound of the 95 % interval of `{name}`", part("low"))
    yield Column(f"{name}_high", "number", f"upper bound of the 95 % interval of `{name}`", part("high"))


def _quantiles(
    what: str, meaning: str, read: Callable[[Subject], Mapping[str, Estimate]], names: Sequence[str]
) -> Iterator[Column]:
    for name in names:

        def of(subject: Subject, name: str = name) -> Estimate | None:
            return read(subject).get(name)

        yield from _figure(f"{what}_{name}_ms", f"{name} of {meaning}, milliseconds", of, _NS_PER_MS)


def _stream(read: Callable[[StreamSummary], Estimate | None]) -> Callable[[Subject], Estimate | None]:
    return lambda subject: None if subject.cell.stream is None else read(subject.cell.stream)


def _inferences(subject: Subject) -> Estimate | None:
    rate = subject.cell.throughput_rps
    return None if rate is None else fmt.times(rate, subject.cell.batch)


def _asked_rps(subject: Subject) -> Value:
    return subject.cell.load.rate_rps if isinstance(subject.cell.load, OpenLoop) else None


def _load_kind(subject: Subject) -> Value:
    kinds = {ClosedLoop: "closed", OpenLoop: "open", PeakShare: "share of peak", Search: "search"}
    return kinds[type(subject.cell.load)]


def _state(subject: Subject) -> Value:
    cell = subject.cell
    return "missing" if not cell.rounds else "doubted" if cell.doubted else "sound"


def _doubts(subject: Subject) -> Value:
    """As machines want them: the reason, and the figures unless it concerns them all."""
    return "; ".join(
        doubt.reason.value if doubt.whole_cell else f"{doubt.reason.value}({','.join(doubt.figures)})"
        for doubt in subject.cell.doubts
    )


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(dict(sorted(value.items())))


COLUMNS: tuple[Column, ...] = (
    Column("run_id", "text", "the run", lambda s: s.night.run.run_id),
    Column("suite", "text", "the suite that was run", lambda s: s.night.run.suite),
    Column("seed", "integer", "the seed of the order of servers", lambda s: s.night.run.seed),
    Column("started_at", "text", "when the run began, ISO 8601", lambda s: s.night.run.started_at.isoformat()),
    Column("hardware", "text", "the machine", lambda s: s.night.run.hardware),
    Column("cell", "text", "the cell's name within the run", lambda s: s.cell.cell_key),
    Column(
        "fingerprint",
        "text",
        "the series: figures of different ones must not be compared; empty where nothing was measured",
        lambda s: s.cell.measurements[0].case.fingerprint if s.cell.measurements else "",
    ),
    Column("round", "integer", "the round; empty where the row is over all rounds", lambda s: s.round),
    Column("model", "text", "the model", lambda s: s.cell.model),
    Column("format", "text", "the format it was exported to", lambda s: str(s.cell.format)),
    Column("precision", "text", "its precision", lambda s: str(s.cell.precision)),
    Column("server", "text", "the server", lambda s: s.cell.server),
    Column("server_version", "text", "its version", lambda s: s.cell.server_version),
    Column(
        "launcher",
        "text",
        "`process`, `docker`, or empty for the in-process floor and for what was not measured",
        lambda s: launcher_of(s.cell) or "",
    ),
    Column("image_digest", "text", "of the image its container was started from", lambda s: s.image_digest),
    Column("options", "text", "the server's options, JSON", lambda s: _json(s.cell.options)),
    Column("protocol", "text", "how requests travelled", lambda s: str(s.cell.protocol)),
    Column("batch", "integer", "inputs in one request", lambda s: s.cell.batch),
    Column("load", "text", "the load in words", lambda s: s.cell.load.label),
    Column("load_kind", "text", "`closed`, `open`, `share of peak` or `search`: never on one line", _load_kind),
    Column(
        "concurrency",
        "integer",
        "requests in flight, of a closed loop",
        lambda s: s.cell.load.concurrency if isinstance(s.cell.load, ClosedLoop) else None,
    ),
    Column("asked_rps", "number", "the rate that was asked for, of an open loop", _asked_rps),
    Column("state", "text", "`sound`, `doubted` as a whole, or `missing`", _state),
    Column("doubts", "text", "each reason, with the figures it concerns if not all; `; ` between them", _doubts),
    Column(
        "doubts_in_words",
        "text",
        "the same in sentences",
        lambda s: "; ".join(doubt.detail for doubt in s.cell.doubts),
    ),
    Column(
        "missing_because",
        "text",
        "why rounds were not measured",
        lambda s: "; ".join(dict.fromkeys(f"{each.reason}: {each.detail}" for each in s.cell.missing)),
    ),
    Column("rounds", "integer", "fresh deployments it was measured on", lambda s: s.cell.rounds),
    Column("planned_rounds", "integer", "as many as were planned", lambda s: s.cell.planned_rounds),
    Column("ok", "integer", "successful requests", lambda s: s.cell.ok),
    Column("failed", "integer", "failed requests", lambda s: s.cell.failed),
    Column("outcomes", "text", "requests by outcome, JSON", lambda s: _json(s.cell.outcomes)),
    *_figure("throughput_rps", "successful requests a second", lambda s: s.cell.throughput_rps),
    *_figure("inferences_per_s", "`throughput_rps` times `batch`", _inferences),
    *_figure("offered_rps", "requests a second that were really sent, of an open loop", lambda s: s.cell.offered_rps),
    *_figure("answer_rps", "what a search found", lambda s: s.cell.answer_rps),
    *_quantiles("latency", "latency from the time a request was due", lambda s: s.cell.latency_ns, _QUANTILES),
    *_quantiles("service", "time from sending a request", lambda s: s.cell.service_ns, _TAIL),
    *_quantiles("ttft", "time to first token", lambda s: s.cell.stream.ttft_ns if s.cell.stream else {}, _TAIL),
    *_quantiles("itl", "time between tokens", lambda s: s.cell.stream.itl_ns if s.cell.stream else {}, _TAIL),
    *_figure("tokens_per_s", "output tokens a second", _stream(lambda s: s.tokens_per_s)),
    *_figure("goodput_rps", "requests a second that kept their bounds", _stream(lambda s: s.goodput_rps)),
    *_figure(
        "cold_start_ms",
        "from starting the server to its first right answer, milliseconds",
        lambda s: s.deployment.cold_start_ns if s.deployment else None,
        _NS_PER_MS,
    ),
    *_figure(
        "model_load_ms",
        "loading the model, milliseconds",
        lambda s: s.deployment.model_load_ns if s.deployment else None,
        _NS_PER_MS,
    ),
    *_figure(
        "rss_bytes",
        "resident memory of the server's process tree when ready, bytes",
        lambda s: s.deployment.rss_bytes if s.deployment else None,
    ),
)
