"""The tables of timed cells: the series they belong to, their figures, and what was observed beside them.

The two large ones lie in one partition a month; `db.months` says how a row comes into its own.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Connection,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from db.columns import (
    QUANTILES,
    STREAM_QUANTILES,
    case_columns,
    estimate,
    metadata,
    not_negative,
    whole_or_absent,
)
from db.months import SCHEMA, belongs_to
from db.tables import artifacts, deployments, runs

__all__ = ["cases", "measurements", "telemetry"]

cases = Table(
    "cases",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    *case_columns(),
    Column("model_version", Integer, nullable=False),
    Column("artifact_sha256", Text, ForeignKey(artifacts.c.sha256), nullable=False),
    Column("threads", Integer, nullable=False),
    Column("hardware", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("launcher", Text),
    not_negative("threads"),
    Index("ix_cases_words", "server", "model", "protocol", "batch", "load_kind"),
)

measurements = Table(
    "measurements",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("cell_id", Text, primary_key=True),
    Column("round", Integer, nullable=False),
    Column("deployment_id", Text, nullable=False),
    Column("fingerprint", Text, ForeignKey("cases.fingerprint"), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("warmup_ns", BigInteger, nullable=False),
    Column("measured_ns", BigInteger, nullable=False),
    Column("ok_count", BigInteger, nullable=False),
    Column("failed_count", BigInteger, nullable=False),
    Column("counts", JSONB, nullable=False),
    Column("offered_rps", Double),
    *estimate("throughput", "rps", nullable=False),
    *(part for quantile in QUANTILES for part in estimate(f"latency_{quantile}", "ns")),
    *(part for quantile in QUANTILES for part in estimate(f"service_{quantile}", "ns")),
    Column("other_quantiles", JSONB, nullable=False),
    Column("lag_ns", JSONB, nullable=False),
    Column("client_cpu_ns_per_request", Double),
    Column("ended_by", Text, nullable=False),
    Column("pacing", Text),
    Column("hiccups_ns", JSONB, nullable=False),
    Column("ceiling_share", Double),
    Column("stream_tokens", BigInteger),
    Column("stream_slo", JSONB),
    *(
        part
        for name in ("ttft", "itl")
        for quantile in STREAM_QUANTILES
        for part in estimate(f"{name}_{quantile}", "ns")
    ),
    *estimate("tokens", "per_s"),
    *estimate("goodput", "rps"),
    *estimate("answer", "rps"),
    Column("search", JSONB),
    Column("doubts", JSONB, nullable=False),
    # Computed by the database, so that flag and reasons cannot disagree.
    Column(
        "doubted",
        Boolean,
        Computed("jsonb_path_exists(doubts, '$[*] ? (@.figures.size() == 0)')", persisted=True),
        nullable=False,
    ),
    Column("context", JSONB, nullable=False),
    Column("histogram", LargeBinary, nullable=False),
    ForeignKeyConstraint(["run_id"], [runs.c.run_id]),
    ForeignKeyConstraint(
        ["run_id", "deployment_id"],
        [deployments.c.run_id, deployments.c.deployment_id],
        name="fk_measurements_deployment",
    ),
    whole_or_absent("stream", "stream_tokens", "stream_slo", "tokens_per_s"),
    whole_or_absent("search", "answer_rps", "search"),
    not_negative(
        *("round", "warmup_ns", "measured_ns", "ok_count", "failed_count", "offered_rps", "client_cpu_ns_per_request"),
        *("ceiling_share", "stream_tokens"),
    ),
    Index("ix_measurements_fingerprint_started_at", "fingerprint", "started_at"),
    Index("ix_measurements_deployment", "run_id", "deployment_id"),
    postgresql_partition_by="RANGE (run_id)",
)

telemetry = Table(
    "telemetry",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("cell_id", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("offset_ms", ARRAY(Integer), nullable=False),
    Column("values", ARRAY(Double), nullable=False),
    postgresql_partition_by="RANGE (run_id)",
)
"""One row a series. ``ordinal`` keeps the order in which a measurement lists its series. Each partition refers to that
of measurements which has the same bounds."""
telemetry.add_is_dependent_on(measurements)


def _with_other(table: Table, connection: Connection, **_: object) -> None:
    """The partition for what belongs to no month; the others are made by `db.months`."""
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.execute(text(f"CREATE TABLE {SCHEMA}.{table.name}_other PARTITION OF {table.name} DEFAULT"))
    if table is telemetry:
        connection.execute(text(belongs_to("other")))


for each in (measurements, telemetry):
    event.listen(each, "after_create", _with_other)
