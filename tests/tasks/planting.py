"""Faults planted in a made-up night, and what a gate must say of each; and the meaning of a check in plain Python."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import numpy as np

from nightbench.figures import Estimate, Reason
from nightbench.histogram import LatencyHistogram
from nightbench.night_frame import TEXTS, Row, night_rows
from nightbench.plan import Cell
from nightbench.quality import RULES, Check, Evaluated
from nightbench.record import MeasurementRecord, Record
from tests.tasks.made_nights import SENDING_NS, TIMEOUT_NS, finished, measured, missing, night, plan, started, streamed

CELLS = plan()


def changed(name: str, level: str, factor: float) -> Callable[[MeasurementRecord], MeasurementRecord]:
    """One quantile times ``factor``."""

    def plant(record: MeasurementRecord) -> MeasurementRecord:
        quantiles = getattr(record, name)
        return replace(record, **{name: {**quantiles, level: Estimate(factor * quantiles[level].value)}})

    return plant


def all_times(factor: float) -> Callable[[MeasurementRecord], MeasurementRecord]:
    """Figures of another unit; the histogram is always in nanoseconds."""

    def plant(record: MeasurementRecord) -> MeasurementRecord:
        def scaled(quantiles: Any) -> dict[str, Estimate]:
            return {name: Estimate(factor * each.value) for name, each in quantiles.items()}

        return replace(record, latency_ns=scaled(record.latency_ns), service_ns=scaled(record.service_ns))

    return plant


def stream(name: str, level: str, value: float) -> Callable[[MeasurementRecord], MeasurementRecord]:
    def plant(record: MeasurementRecord) -> MeasurementRecord:
        sound = streamed(record).stream
        assert sound is not None
        return replace(record, stream=replace(sound, **{name: {**getattr(sound, name), level: Estimate(value)}}))

    return plant


def miscounted(record: MeasurementRecord) -> MeasurementRecord:
    return replace(record, counts={"ok": record.ok - 1, "timeout": 1})


def slow_beyond_the_timeout(record: MeasurementRecord) -> MeasurementRecord:
    long = np.full(record.ok, TIMEOUT_NS + 2_000_000_000)
    same = dict.fromkeys(record.latency_ns, Estimate(float(long[0])))
    return replace(record, latency_ns=same, service_ns=same, histogram=LatencyHistogram.from_ns(long).encode())


@dataclass(frozen=True)
class Planted:
    load: str
    """Of the cell, in whose second round it is planted."""
    fault: Callable[[MeasurementRecord], MeasurementRecord]
    rule: str
    reason: Reason
    figures: tuple[str, ...] = ()
    detail: str = ""


PLANTED = (
    Planted(
        "closed c1",
        changed("latency_ns", "p99", -1.0),
        "figures_are_finite_and_not_negative",
        Reason.OUT_OF_RANGE,
        detail="round 2: latency_p99_ns is -",
    ),
    Planted(
        "closed c2",
        changed("latency_ns", "p90", math.nan),
        "figures_are_finite_and_not_negative",
        Reason.OUT_OF_RANGE,
        detail="round 2: latency_p90_ns is no finite number",
    ),
    Planted(
        "closed c3",
        lambda record: replace(record, throughput_rps=Estimate(math.inf)),
        "figures_are_finite_and_not_negative",
        Reason.OUT_OF_RANGE,
        detail="round 2: throughput_rps is no finite number",
    ),
    Planted(
        "closed c4",
        all_times(1e-6),
        "times_are_in_nanoseconds",
        Reason.OUT_OF_RANGE,
        detail="less than 1000",
    ),
    Planted("closed c5", all_times(1e-3), "times_are_in_nanoseconds", Reason.OUT_OF_RANGE, detail="over_histogram"),
    Planted("closed c6", slow_beyond_the_timeout, "answers_came_before_the_timeout", Reason.OUT_OF_RANGE),
    Planted(
        "closed c7",
        lambda record: replace(record, throughput_rps=Estimate(0.0)),
        "answers_have_a_rate",
        Reason.OUT_OF_RANGE,
        detail="round 2: throughput_rps is 0, not more than 0",
    ),
    Planted("closed c8", miscounted, "counts_add_up", Reason.OUT_OF_RANGE, detail="histogram_ok is 19200, and ok is"),
    Planted(
        "closed c9",
        changed("latency_ns", "p95", 2.0),
        "quantiles_rise",
        Reason.QUANTILES_CROSS,
        detail="latency_p95_ns is",
    ),
    Planted(
        "poisson 50 rps",
        changed("service_ns", "p50", 1.1),
        "service_is_within_latency",
        Reason.QUANTILES_CROSS,
        detail="more than latency_p50_ns",
    ),
    Planted(
        "poisson 100 rps",
        lambda record: replace(record, throughput_rps=Estimate(1.1 * record.throughput_rps.value)),
        "achieved_is_within_offered",
        Reason.RATE_EXCEEDED,
        detail="throughput_rps is 110, more than throughput_most_rps, 100.",
    ),
    Planted(
        "poisson 150 rps",
        lambda record: replace(record, offered_rps=2.0 * (record.offered_rps or 0.0)),
        "counts_add_up",
        Reason.OUT_OF_RANGE,
        detail="requests is 1500, and due is 3000",
    ),
    Planted(
        "closed c10",
        stream("itl_ns", "p99", -5.0),
        "figures_are_finite_and_not_negative",
        Reason.OUT_OF_RANGE,
        ("itl_p99",),
    ),
    Planted("closed c11", stream("ttft_ns", "p50", 1e7), "quantiles_rise", Reason.QUANTILES_CROSS, ("ttft_p50",)),
)
LOST = "poisson 200 rps"
"""One round of it left no record; another is missing, and says why."""


def planted_night() -> list[Record]:
    faults = {each.load: each.fault for each in PLANTED}
    records: list[Record] = [started()]
    for cell in CELLS:
        if cell.load.label == LOST and cell.round == 2:
            continue
        if cell.load.label == LOST and cell.round == 3:
            records.append(missing(cell))
            continue
        record = measured(cell)
        fault = faults.get(cell.load.label)
        records.append(fault(record) if fault is not None and cell.round == 2 else record)
    return [*records, finished()]


def rows_of(records: Iterable[Record], cells: Sequence[Cell] = CELLS) -> list[Row]:
    return night_rows(records, cells, TIMEOUT_NS, SENDING_NS)


def plainly(rows: Iterable[Row]) -> list[Evaluated]:
    """What Great Expectations must say, from the meaning of each check."""
    rows = list(rows)
    found = []
    for check in (check for rule in RULES for check in rule.checks):
        looked_at = [row for row in rows if looks_at(check, row)]
        broken = sorted(str(row["cell_id"]) for row in looked_at if breaks(check, row))
        found.append(Evaluated(check, len(looked_at), tuple(broken)))
    return found


def looks_at(check: Check, row: Row) -> bool:
    if check.kind == "given":
        return True
    if check.where:
        ok, p50, window = row["ok"], row["latency_p50_ns"], row["measured_ns"]
        numbers = isinstance(ok, int | float) and isinstance(p50, int | float) and isinstance(window, int | float)
        if not numbers or not (cast("float", ok) > 1 and cast("float", p50) < cast("float", window) / 2):
            return False
    return row[check.column] is not None and (not check.other or row[check.other] is not None)


def breaks(check: Check, row: Row) -> bool:
    if check.kind == "given":
        return row[check.column] is None
    value, other = cast("float", row[check.column]), cast("float", row.get(check.other))
    if check.kind == "between":
        return not (value > check.low if check.above else value >= check.low) or value > check.high
    return value > other if check.kind == "at_most" else value != other


PLANTED_NIGHT = planted_night()
SOUND_NIGHT = night(CELLS)


def anything(number: int) -> list[Row]:
    """Rows with figures of every kind: left out, infinite, equal, and beyond their bounds."""
    draw = Random(5)  # noqa: S311 - cases, not secrets
    columns = [column for column in rows_of([], CELLS[:1])[0] if column not in TEXTS]
    rows: list[Row] = []
    for each in range(number):
        values = (None, 0.0, -1.0, 1.0, 5e2, 1e3, 2e6, 2e6, 4e12, math.inf, draw.uniform(0, 1e7))
        figures = {column: draw.choice(values) for column in columns}
        record = draw.choice((None, "measured", "missing"))
        names = {"cell_id": f"any{each}.r1", "cell_key": f"any{each}", "label": "any", "record": record}
        rows.append({**names, **figures})
    return rows


ANYTHING = anything(400)
