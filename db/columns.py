"""Columns and constraints that several tables share. Names follow the domain's fields; units are in the names."""

from typing import Any

from sqlalchemy import CheckConstraint, Column, Double, Integer, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB

__all__ = [
    "QUANTILES",
    "STREAM_QUANTILES",
    "case_columns",
    "estimate",
    "estimate_names",
    "metadata",
    "not_negative",
    "whole_or_absent",
]

# Each kind of load has its own columns, and none of another's.
_LOAD_SHAPE = """
CASE load_kind
    WHEN 'closed' THEN concurrency IS NOT NULL AND num_nonnulls(rate_rps, arrival, burstiness, trace_sha256,
        peak_share, search_goal, p99_ms, most_concurrent) = 0
    WHEN 'open' THEN num_nulls(rate_rps, arrival) = 0
        AND num_nonnulls(concurrency, peak_share, search_goal, p99_ms, most_concurrent) = 0
    WHEN 'peak_share' THEN num_nulls(peak_share, arrival) = 0
        AND num_nonnulls(concurrency, rate_rps, trace_sha256, search_goal, p99_ms, most_concurrent) = 0
    WHEN 'search' THEN num_nulls(search_goal, arrival, most_concurrent) = 0
        AND num_nonnulls(concurrency, rate_rps, trace_sha256, peak_share) = 0
    ELSE false
END
"""
_LOAD_POSITIVE = " AND ".join(
    f"{column} > 0" for column in ("concurrency", "rate_rps", "burstiness", "peak_share", "p99_ms", "most_concurrent")
)

QUANTILES = ("p50", "p90", "p95", "p99")
"""The quantiles with columns of their own; any other goes to ``measurements.other_quantiles``."""

STREAM_QUANTILES = ("p50", "p99")
"""The same for the times of streamed answers."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def case_columns() -> list[Column[Any] | CheckConstraint]:
    """What a cell is, as `nightbench.record.Case` and `MissingRecord` both say it.

    Names of formats, servers and protocols are plain text: the domain owns these vocabularies, and adding a server
    must not need a migration.
    """
    return [
        Column("server", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("format", Text, nullable=False),
        Column("precision", Text, nullable=False),
        Column("options", JSONB, nullable=False),
        Column("protocol", Text, nullable=False),
        Column("batch", Integer, nullable=False),
        Column("load_kind", Text, nullable=False),
        Column("concurrency", Integer),
        Column("rate_rps", Double),
        Column("arrival", Text),
        Column("burstiness", Double),
        Column("trace_sha256", Text),
        Column("peak_share", Double),
        Column("search_goal", Text),
        Column("p99_ms", Double),
        Column("most_concurrent", Integer),
        CheckConstraint("batch > 0", name="batch_positive"),
        CheckConstraint(_LOAD_SHAPE, name="load_shape"),
        CheckConstraint(_LOAD_POSITIVE, name="load_positive"),
    ]


def estimate_names(name: str, unit: str) -> tuple[str, str, str]:
    """The columns of a `nightbench.figures.Estimate`: value, low, high."""
    return f"{name}_{unit}", f"{name}_low_{unit}", f"{name}_high_{unit}"


def estimate(name: str, unit: str, *, nullable: bool = True) -> list[Column[float] | CheckConstraint]:
    """A figure and its interval. A bound may be absent, but never stands without or beyond its figure."""
    value, low, high = estimate_names(name, unit)
    return [
        Column(value, Double, nullable=nullable),
        Column(low, Double),
        Column(high, Double),
        CheckConstraint(
            f"{value} >= 0 AND {low} <= {value} AND {value} <= {high}"
            f" AND ({value} IS NOT NULL OR num_nonnulls({low}, {high}) = 0)",
            name=f"{name}_interval",
        ),
    ]


def not_negative(*columns: str) -> CheckConstraint:
    """None of these may be below zero; absent ones pass."""
    return CheckConstraint(" AND ".join(f"{column} >= 0" for column in columns), name="not_negative")


def whole_or_absent(name: str, *columns: str) -> CheckConstraint:
    """Either all of these are known or none is: half a record is a fault."""
    return CheckConstraint(f"num_nulls({', '.join(columns)}) IN (0, {len(columns)})", name=name)
