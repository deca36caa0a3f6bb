"""The night as a table: one row a planned cell and round, measured or not, with its figures side by side."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nightbench.errors import NightbenchError
from nightbench.figures import Estimate
from nightbench.histogram import LatencyHistogram
from nightbench.plan import Cell
from nightbench.record import MeasurementRecord, MissingRecord, Record

__all__ = ["COUNTS", "QUANTILES", "RATES", "SPANS", "TEXTS", "TIMES", "Row", "night_rows"]

Row = Mapping[str, str | float | None]
"""By column. ``None`` is a figure that was not given; one that is no finite number is infinite here."""

QUANTILES = ("p50", "p90", "p95", "p99")
TIMES = ("latency", "service", "ttft", "itl")
"""Each is a column a quantile: ``latency_p50_ns``. Latency counts from the intended time, service from sending."""
TEXTS = ("cell_id", "cell_key", "label", "record")
"""``record`` says what there is of a planned round: ``measured``, ``missing`` with a reason, or nothing at all."""
RATES = ("throughput_rps", "offered_rps", "answer_rps", "tokens_per_s", "goodput_rps")
SPANS = ("warmup_ns", "measured_ns", "lag_p50_ns", "lag_p99_ns", "lag_p999_ns", "client_cpu_ns_per_request")
COUNTS = ("ok", "requests", "fewest", "due", "histogram_ok")
"""Successful requests and all; the smallest count of an outcome; what ``offered_rps`` amounts to in the window; and
the values in the histogram."""

STALL_NS = 1_000_000_000
"""How late a client may notice that a request has timed out, or that sending is over: machines stall, seldom longer."""
EXCESS_SIGMAS = 4.0
"""Of the Poisson number of requests that are in flight when the window opens; chance is beyond once in 30,000 cells."""


def night_rows(records: Iterable[Record], planned: Sequence[Cell], timeout_ns: int, sending_ns: int) -> list[Row]:
    """A row for each of ``planned``, and for each record of a cell that was not; ordered by cell and round.

    A request is given up ``timeout_ns`` after it was sent. Requests are sent for ``sending_ns``, warm-up and window,
    or for less. Of several measurements of one round, which nothing should leave, the last counts.
    """
    measured: dict[str, MeasurementRecord] = {}
    missing: dict[str, MissingRecord] = {}
    for record in records:
        if isinstance(record, MeasurementRecord):
            measured[record.cell_id] = record
        elif isinstance(record, MissingRecord):
            missing[record.cell_id] = record
    labels = {cell.cell_id: cell.label for cell in planned}
    labels |= {cell_id: _label(record) for cell_id, record in missing.items() if cell_id not in labels}
    labels |= {cell_id: _label(record) for cell_id, record in measured.items() if cell_id not in labels}
    rows: list[Row] = []
    for cell_id, label in sorted(labels.items(), key=lambda item: (_key(item[0]), _round(item[0]))):
        what = "measured" if cell_id in measured else "missing" if cell_id in missing else None
        names = {"cell_id": cell_id, "cell_key": _key(cell_id), "label": label, "record": what}
        figures = _figures(measured[cell_id], timeout_ns, sending_ns) if cell_id in measured else {}
        rows.append({**dict.fromkeys(_COLUMNS), **names, **figures})
    return rows


def _label(record: MeasurementRecord | MissingRecord) -> str:
    source = record.case if isinstance(record, MeasurementRecord) else record
    return f"{source.server} {source.model} b{source.batch} {source.protocol} {source.load.label}"


def _key(cell_id: str) -> str:
    return cell_id.partition(".")[0]


def _round(cell_id: str) -> int:
    return int(cell_id.rpartition(".r")[2])


def _figures(record: MeasurementRecord, timeout_ns: int, sending_ns: int) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    stream = record.stream
    for name, quantiles in (
        ("latency", record.latency_ns),
        ("service", record.service_ns),
        ("ttft", stream.ttft_ns if stream else {}),
        ("itl", stream.itl_ns if stream else {}),
    ):
        found |= {f"{name}_{level}_ns": _number(quantiles.get(level)) for level in QUANTILES}
    found["throughput_rps"] = _number(record.throughput_rps)
    found["offered_rps"] = _number(record.offered_rps)
    found["answer_rps"] = _number(record.search.answer_rps if record.search else None)
    found["tokens_per_s"] = _number(stream.tokens_per_s if stream else None)
    found["goodput_rps"] = _number(stream.goodput_rps if stream else None)
    found |= {f"lag_{level}_ns": _number(record.lag_ns.get(level)) for level in ("p50", "p99", "p999")}
    found["client_cpu_ns_per_request"] = _number(record.client_cpu_ns_per_request)
    found |= {"warmup_ns": record.warmup_ns, "measured_ns": record.measured_ns}
    found |= {
        "ok": record.ok,
        "requests": sum(record.counts.values()),
        "fewest": min(record.counts.values(), default=0),
    }
    found["due"] = _due(found["offered_rps"], record.measured_ns)
    found["service_most_ns"] = timeout_ns + STALL_NS
    found["latency_most_ns"] = max(sending_ns, record.warmup_ns + record.measured_ns) + timeout_ns + STALL_NS
    found["throughput_most_rps"] = _most_rps(found)
    return found | _of_histogram(record)


def _number(value: Estimate | float | None) -> float | None:
    """The number itself, infinite where it is none: a gap must not hide it."""
    number = value.value if isinstance(value, Estimate) else value
    return number if number is None or math.isfinite(number) else math.inf


def _due(offered_rps: float | None, measured_ns: int) -> float | None:
    if offered_rps is None:
        return None
    return round(offered_rps * measured_ns * 1e-9) if math.isfinite(offered_rps) else math.inf


def _most_rps(found: Mapping[str, float | None]) -> float | None:
    """The highest throughput that an open loop's ``offered_rps`` allows.

    Answers count by when they were done. Beside those to what was due in the window come those to the requests in
    flight when it opened: by Little's law rate times mean latency, of which p99 is an upper bound but for the oddest
    of distributions; their number is Poisson, and one more is the edge's. A backlog of the warm-up that drains in the
    window exceeds this, and should: such a window has not the load it is named after.
    Where p99 is not known, all that was due in the warm-up may have been in flight.
    """
    offered, measured_ns, p99_ns = found["offered_rps"], found["measured_ns"], found["latency_p99_ns"]
    if offered is None or not measured_ns or measured_ns < 0 or not offered >= 0.0 or not math.isfinite(offered):
        return None
    waiting_ns = found["warmup_ns"] if p99_ns is None else p99_ns
    in_flight = offered * max(0.0, waiting_ns or 0.0) * 1e-9
    return offered + (in_flight + EXCESS_SIGMAS * math.sqrt(in_flight) + 1.0) / (measured_ns * 1e-9)


def _of_histogram(record: MeasurementRecord) -> dict[str, float | None]:
    """How many values it holds, which is no number where it cannot be read, and how its median fits the figures'."""
    try:
        histogram = LatencyHistogram.decode(record.histogram)
    except NightbenchError:
        return {"histogram_ok": math.inf}
    median, p50 = histogram.quantile_ns(0.5), record.latency_ns.get("p50")
    return {
        "histogram_ok": histogram.count,
        "latency_p50_over_histogram": _number(p50.value / median) if p50 is not None and median else None,
    }


def _columns() -> Iterator[str]:
    yield from (*TEXTS, *RATES, *SPANS, *COUNTS)
    yield from (f"{name}_{level}_ns" for name in TIMES for level in QUANTILES)
    yield from ("service_most_ns", "latency_most_ns", "throughput_most_rps", "latency_p50_over_histogram")


_COLUMNS = tuple(_columns())
