"""Results as CSV, JSON and Parquet, each with the same columns."""

import csv
import io
import json
import math
from collections.abc import Sequence

from dashboards.results.columns import COLUMNS, Value
from nightbench.summary import NightSummary

__all__ = ["as_csv", "as_json", "as_parquet"]

Row = dict[str, Value]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(rows: Sequence[Row]) -> bytes:
    """UTF-8, one header line, RFC 4180. An unknown value is an empty field.

    A text that a spreadsheet would run as a formula is put behind an apostrophe: names and log lines come from
    servers and suites of other people.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in COLUMNS])
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _field(value) for name, value in row.items()})
    return text.getvalue().encode()


def _field(value: Value) -> Value:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return _finite(value)


def as_json(night: NightSummary, rows: Sequence[Row]) -> bytes:
    """The run, what each column means, and the rows. An unknown value is null."""
    run = night.run
    document = {
        "run": {
            "run_id": run.run_id,
            "suite": run.suite,
            "seed": run.seed,
            "started_at": run.started_at.isoformat(),
            "status": night.finished.status if night.finished else "unfinished",
            "hardware": run.hardware,
            "context": dict(run.context),
            "suite_yaml": run.suite_yaml,
        },
        "columns": {column.name: column.meaning for column in COLUMNS},
        "rows": [{name: _finite(value) for name, value in row.items()} for row in rows],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def as_parquet(night: NightSummary, rows: Sequence[Row]) -> bytes:
    """One row group; each column says what it means in its metadata, and the file which run it is of."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
    }
    schema = pa.schema(
        [pa.field(column.name, types[column.kind], metadata={"description": column.meaning}) for column in COLUMNS],
        metadata={"nightbench_run_id": night.run.run_id, "nightbench_suite": night.run.suite_yaml},
    )
    plain = [{name: _finite(value) for name, value in row.items()} for row in rows]
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(plain, schema=schema), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def _finite(value: Value) -> Value:
    """Neither JSON nor a database column has a place for a figure that is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
