"""Records as rows and back: pure, and the only place that knows where each field of a record is kept.

A row is a dictionary of JSON values named like its table's columns. Postgres turns rows into typed columns and back
by itself (``json_populate_recordset``, ``row_to_json``), so most records need hardly any code here.
"""

import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from db.columns import QUANTILES, STREAM_QUANTILES, estimate_names
from db.load_columns import joined, spread
from nightbench.record import CalibrationRecord, MeasurementRecord, Record, decode, encode

__all__ = [
    "MeasurementRows",
    "Row",
    "calibration",
    "calibration_row",
    "estimate_columns",
    "estimate_of",
    "measurement",
    "measurement_rows",
    "plain",
    "plain_json",
    "record_of",
    "row",
]

Row = dict[str, Any]
MeasurementRows = tuple[Row, Row, list[Row]]
"""Rows of ``measurements``, ``cases`` and ``telemetry``."""

# The columns of quantiles begin with these names; those without columns go to ``other_quantiles`` under their field.
_TIMES = {"latency_ns": "latency", "service_ns": "service"}
_STREAM_TIMES = {"ttft_ns": "ttft", "itl_ns": "itl"}
_FLOOR = {"floor_ns": "floor"}
# Postgres has no NUL in text. A server's last words may hold one, and must not cost the record.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def plain(text: str) -> str:
    """A text as Postgres can keep it, which has neither NUL nor half a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def plain_json(document: bytes) -> Any:
    """What is in a JSON document, its texts as Postgres can keep them."""
    return from_json(_NUL.sub(rb"\1\\ufffd", document) if rb"\u0000" in document else document)


def row(record: Record) -> Row:
    """The fields of a record, its load spread over columns. Measurements and calibrations have their own functions."""
    fields: Row = plain_json(encode(record))
    del fields["kind"]
    return spread(fields) if "load" in fields else fields


def record_of(kind: str, fields: Row) -> Record:
    """The record of this ``kind`` in a row; columns that are none of its fields are ignored."""
    if "load_kind" in fields:
        fields = {**fields, "load": joined(fields)}
    return decode(json.dumps({**fields, "kind": kind}).encode())


def measurement_rows(record: MeasurementRecord) -> MeasurementRows:
    """A measurement taken apart. Raises `ValueError` if its histogram is not base64."""
    # Most of a record is telemetry, which needs no detour over its JSON.
    fields = row(replace(record, telemetry=()))
    del fields["telemetry"]
    case = {"fingerprint": record.case.fingerprint, **spread(fields.pop("case"))}
    key = {"run_id": fields["run_id"], "cell_id": fields["cell_id"]}
    telemetry = [
        {
            **key,
            "ordinal": place,
            "source": plain(series.source),
            "metric": plain(series.metric),
            "offset_ms": series.offset_ms,
            "values": series.values,
        }
        for place, series in enumerate(record.telemetry)
    ]
    fields |= {
        "fingerprint": case["fingerprint"],
        "ok_count": record.ok,
        "failed_count": record.failed,
        "histogram": "\\x" + b64decode(fields["histogram"], validate=True).hex(),
        "other_quantiles": {},
    }
    _take_apart(fields, fields, _TIMES, QUANTILES)
    stream = fields.pop("stream") or {"ttft_ns": {}, "itl_ns": {}}
    _take_apart(stream, fields, _STREAM_TIMES, STREAM_QUANTILES)
    fields |= {"stream_tokens": stream.get("tokens"), "stream_slo": stream.get("slo")}
    search = fields["search"] or {}
    fields |= estimate_columns("throughput", "rps", fields.pop("throughput_rps"))
    fields |= estimate_columns("tokens", "per_s", stream.get("tokens_per_s"))
    fields |= estimate_columns("goodput", "rps", stream.get("goodput_rps"))
    fields |= estimate_columns("answer", "rps", search.pop("answer_rps", None))
    return fields, case, telemetry


def measurement(fields: Row, case: Row, telemetry: list[Row]) -> Record:
    """A measurement put together again from its `measurement_rows`."""
    fields = {
        **fields,
        "case": {**case, "load": joined(case)},
        "telemetry": telemetry,
        "throughput_rps": estimate_of(fields, "throughput", "rps"),
        "histogram": b64encode(bytes.fromhex(fields["histogram"].removeprefix("\\x"))).decode(),
        **_put_together(fields, _TIMES, QUANTILES),
        "stream": _stream(fields),
        "search": fields["search"] and {**fields["search"], "answer_rps": estimate_of(fields, "answer", "rps")},
    }
    return record_of("measurement", fields)


def calibration_row(record: CalibrationRecord) -> Row:
    """A calibration, its figures spread over columns."""
    fields = {**row(record), "other_quantiles": {}}
    fields |= estimate_columns("ceiling", "rps", fields.pop("ceiling_rps"))
    _take_apart(fields, fields, _FLOOR, QUANTILES)
    return fields


def calibration(fields: Row) -> Record:
    """A calibration put together again from its `calibration_row`."""
    figures = {"ceiling_rps": estimate_of(fields, "ceiling", "rps"), **_put_together(fields, _FLOOR, QUANTILES)}
    return record_of("calibration", {**fields, **figures})


def _stream(fields: Row) -> Row | None:
    if fields["stream_tokens"] is None:
        return None
    goodput = estimate_of(fields, "goodput", "rps")
    return {
        **_put_together(fields, _STREAM_TIMES, STREAM_QUANTILES),
        "tokens": fields["stream_tokens"],
        "tokens_per_s": estimate_of(fields, "tokens", "per_s"),
        "goodput_rps": None if goodput["value"] is None else goodput,
        "slo": fields["stream_slo"],
    }


def _take_apart(source: Row, target: Row, names: dict[str, str], quantiles: tuple[str, ...]) -> None:
    """Move each field of quantiles from ``source`` to its columns in ``target``."""
    for field, name in names.items():
        figures = source.pop(field)
        for quantile in quantiles:
            target |= estimate_columns(f"{name}_{quantile}", "ns", figures.pop(quantile, None))
        if figures:
            target["other_quantiles"][field] = figures


def _put_together(fields: Row, names: dict[str, str], quantiles: tuple[str, ...]) -> Row:
    """Each field of quantiles from its columns."""
    together = {}
    for field, name in names.items():
        known = {quantile: estimate_of(fields, f"{name}_{quantile}", "ns") for quantile in quantiles}
        present = {quantile: figure for quantile, figure in known.items() if figure["value"] is not None}
        together[field] = present | fields["other_quantiles"].get(field, {})
    return together


def estimate_columns(name: str, unit: str, figure: Row | None) -> Row:
    """The columns of `db.columns.estimate`, all empty where there is no figure."""
    parts = ("value", "low", "high")
    return {column: figure and figure[part] for column, part in zip(estimate_names(name, unit), parts, strict=True)}


def estimate_of(fields: Row, name: str, unit: str) -> Row:
    """The figure in those columns. Its value is ``None`` where there is none."""
    value, low, high = estimate_names(name, unit)
    return {"value": fields[value], "low": fields[low], "high": fields[high]}
