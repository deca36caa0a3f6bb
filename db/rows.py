"""Records as rows and back: pure, and the only place that knows where each field of a record is kept.

A row is a dictionary of JSON values named like its table's columns. Postgres turns rows into typed columns and back
by itself (``json_populate_recordset``, ``row_to_json``), so most records need hardly any code here.
"""

import json
import re
from base64 import b64decode, b64encode
from typing import Any

from db.columns import QUANTILES, estimate_names
from nightbench.record import MeasurementRecord, Record, decode, encode

__all__ = ["MeasurementRows", "Row", "measurement", "measurement_rows", "record_of", "row"]

Row = dict[str, Any]
MeasurementRows = tuple[Row, Row, list[Row]]
"""Rows of ``measurements``, ``cases`` and ``telemetry``."""

_DISTRIBUTIONS = {"latency_ns": "latency", "service_ns": "service"}
# Postgres has no NUL in text. A server's last words may hold one, and must not cost the record.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def row(record: Record) -> Row:
    """The fields of a record, its load spread over columns. A measurement needs `measurement_rows` instead."""
    encoded = encode(record)
    if rb"\u0000" in encoded:
        encoded = _NUL.sub(rb"\1\\ufffd", encoded)
    fields: Row = json.loads(encoded)
    del fields["kind"]
    return _spread_load(fields) if "load" in fields else fields


def record_of(kind: str, fields: Row) -> Record:
    """The record of this ``kind`` in a row; columns that are none of its fields are ignored."""
    if "load_kind" in fields:
        fields = {**fields, "load": _load(fields)}
    return decode(json.dumps({**fields, "kind": kind}).encode())


def measurement_rows(record: MeasurementRecord) -> MeasurementRows:
    """A measurement taken apart. Raises `ValueError` if its histogram is not base64."""
    fields = row(record)
    case = {"fingerprint": record.case.fingerprint, **_spread_load(fields.pop("case"))}
    key = {"run_id": record.run_id, "cell_id": record.cell_id}
    telemetry = [{**key, "ordinal": place, **series} for place, series in enumerate(fields.pop("telemetry"))]
    fields |= {
        "fingerprint": case["fingerprint"],
        "ok_count": record.ok,
        "failed_count": record.failed,
        "histogram": "\\x" + b64decode(fields["histogram"], validate=True).hex(),
        "other_quantiles": {},
    }
    fields |= _estimate_columns("throughput", "rps", fields.pop("throughput_rps"))
    for field, name in _DISTRIBUTIONS.items():
        quantiles = fields.pop(field)
        for quantile in QUANTILES:
            fields |= _estimate_columns(f"{name}_{quantile}", "ns", quantiles.pop(quantile, None))
        if quantiles:
            fields["other_quantiles"][field] = quantiles
    return fields, case, telemetry


def measurement(fields: Row, case: Row, telemetry: list[Row]) -> Record:
    """A measurement put together again from its `measurement_rows`."""
    fields = {
        **fields,
        "case": {**case, "load": _load(case)},
        "telemetry": telemetry,
        "throughput_rps": _estimate(fields, "throughput", "rps"),
        "histogram": b64encode(bytes.fromhex(fields["histogram"].removeprefix("\\x"))).decode(),
    }
    for field, name in _DISTRIBUTIONS.items():
        known = {quantile: _estimate(fields, f"{name}_{quantile}", "ns") for quantile in QUANTILES}
        present = {quantile: figure for quantile, figure in known.items() if figure["value"] is not None}
        fields[field] = present | fields["other_quantiles"].get(field, {})
    return record_of("measurement", fields)


def _spread_load(fields: Row) -> Row:
    load = fields.pop("load")
    columns = {name: load.get(name) for name in ("concurrency", "rate_rps", "arrival")}
    return {**fields, "load_kind": "closed" if "concurrency" in load else "open", **columns}


def _load(fields: Row) -> Row:
    names = ("concurrency",) if fields["load_kind"] == "closed" else ("rate_rps", "arrival")
    return {name: fields[name] for name in names}


def _estimate_columns(name: str, unit: str, figure: Row | None) -> Row:
    parts = ("value", "low", "high")
    return {column: figure and figure[part] for column, part in zip(estimate_names(name, unit), parts, strict=True)}


def _estimate(fields: Row, name: str, unit: str) -> Row:
    value, low, high = estimate_names(name, unit)
    return {"value": fields[value], "low": fields[low], "high": fields[high]}
