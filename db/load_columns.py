"""A load over the columns of `db.columns.case_columns`, and back."""

from typing import Any

__all__ = ["joined", "spread"]

_Row = dict[str, Any]

# The column of each field, by kind of load. The first field tells the kind, for no other kind has it.
_COLUMNS = {
    "closed": {"concurrency": "concurrency"},
    "open": {"rate_rps": "rate_rps", "arrival": "arrival", "burstiness": "burstiness"},
    "peak_share": {"share": "peak_share", "arrival": "arrival", "burstiness": "burstiness"},
    "search": {
        "goal": "search_goal",
        "p99_ms": "p99_ms",
        "arrival": "arrival",
        "burstiness": "burstiness",
        "most_concurrent": "most_concurrent",
    },
}
_ALL = tuple(dict.fromkeys(column for columns in _COLUMNS.values() for column in columns.values()))


def spread(fields: _Row) -> _Row:
    """``fields`` with columns in place of ``load``. Of a trace they keep what names it, not where it lay."""
    fields = dict(fields)
    load = fields.pop("load")
    kind = next(kind for kind, columns in _COLUMNS.items() if next(iter(columns)) in load)
    own = {column: load[field] for field, column in _COLUMNS[kind].items()}
    trace = load.get("trace")
    return {
        **fields,
        "load_kind": kind,
        **dict.fromkeys(_ALL),
        **own,
        "trace_sha256": trace and trace["sha256"],
    }


def joined(fields: _Row) -> _Row:
    """The load in a row's columns."""
    load = {field: fields[column] for field, column in _COLUMNS[fields["load_kind"]].items()}
    if fields["trace_sha256"] is not None:
        load["trace"] = {"path": "", "sha256": fields["trace_sha256"]}
    return load
