"""The tables of a night: runs, what was exported and checked, deployed and calibrated, and what could not be timed.

A run or deployment whose own record was lost (a torn spool line) still gets a row holding only its key, so that the
measurements that name it are kept; the record fills the row in if it turns up later.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from db.columns import QUANTILES, case_columns, estimate, metadata, not_negative, whole_or_absent

__all__ = [
    "artifacts",
    "calibrations",
    "deployments",
    "missing_cells",
    "parity",
    "run_artifacts",
    "runs",
    "wire_parity",
]


def _run_id() -> Column[str]:
    return Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True)


_PROCESS = {"launcher": "process", "image": "", "image_digest": ""}
"""What deployments were before there were containers."""

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("suite", Text),
    Column("seed", BigInteger),
    Column("started_at", DateTime(timezone=True)),
    Column("hardware", Text),
    Column("context", JSONB),
    Column("suite_yaml", Text),
    Column("planned_cells", Integer),
    Column("finished_at", DateTime(timezone=True)),
    Column("status", Text),
    Column("spent_ns", JSONB),
    Column("own_ns_per", JSONB),
    Column("detail", Text),
    whole_or_absent("started", "suite", "seed", "started_at", "hardware", "context", "suite_yaml", "planned_cells"),
    whole_or_absent("finished", "finished_at", "status", "spent_ns", "own_ns_per", "detail"),
    not_negative("planned_cells"),
    Index("ix_runs_started_at", "started_at"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("format", Text, nullable=False),
    Column("size_bytes", BigInteger),
    not_negative("size_bytes"),
)
"""What is true of the bytes; how a run came by them is in ``run_artifacts``."""

run_artifacts = Table(
    "run_artifacts",
    metadata,
    _run_id(),
    Column("model", Text, primary_key=True),
    Column("model_version", Integer, primary_key=True, autoincrement=False),
    Column("format", Text, primary_key=True),
    Column("precision", Text, primary_key=True),
    Column("weights", Text, primary_key=True),
    Column("sha256", Text, ForeignKey("artifacts.sha256")),
    Column("export_ns", BigInteger),
    Column("cached", Boolean, nullable=False),
    Column("exporter", JSONB, nullable=False),
    Column("reproducible", Boolean, nullable=False),
    Column("failure", Text),
    Column("peak_rss_bytes", BigInteger),
    not_negative("export_ns", "peak_rss_bytes"),
    CheckConstraint("sha256 IS NOT NULL OR failure IS NOT NULL", name="exported_or_failed"),
)

parity = Table(
    "parity",
    metadata,
    _run_id(),
    Column("artifact_sha256", Text, ForeignKey("artifacts.sha256"), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("format", Text, primary_key=True),
    Column("precision", Text, primary_key=True),
    Column("output", Text, primary_key=True),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("max_abs", Double, nullable=False),
    Column("max_rel", Double, nullable=False),
    Column("cosine", Double, nullable=False),
    Column("top1_agreement", Double),
    Column("passed", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Column("rmse", Double),
    Column("nrmse", Double),
    Column("top5_agreement", Double),
    Column("diverges_at", Text),
    not_negative("max_abs", "max_rel", "top1_agreement", "rmse", "nrmse", "top5_agreement"),
    CheckConstraint("batch > 0", name="batch_positive"),
)

deployments = Table(
    "deployments",
    metadata,
    _run_id(),
    Column("deployment_id", Text, primary_key=True),
    Column("round", Integer),
    Column("server", Text),
    Column("server_version", Text),
    Column("environment", Text),
    Column("model", Text),
    Column("format", Text),
    Column("precision", Text),
    Column("options", JSONB),
    Column("started_at", DateTime(timezone=True)),
    Column("cold_start_ns", BigInteger),
    Column("model_load_ns", BigInteger),
    Column("rss_bytes", BigInteger),
    Column("limits", JSONB),
    Column("log_path", Text),
    Column("failure_kind", Text),
    Column("failure", Text),
    Column("log_tail", Text),
    *(Column(name, Text, nullable=False, server_default=value) for name, value in _PROCESS.items()),
    whole_or_absent(
        "started",
        *("round", "server", "server_version", "environment", "model", "format", "precision", "options"),
        *("started_at", "limits", "log_path", "log_tail"),
    ),
    not_negative("round", "cold_start_ns", "model_load_ns", "rss_bytes"),
)

wire_parity = Table(
    "wire_parity",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("deployment_id", Text, primary_key=True),
    Column("protocol", Text, primary_key=True),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("output", Text, primary_key=True),
    Column("artifact_sha256", Text, ForeignKey("artifacts.sha256"), nullable=False),
    Column("server", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("precision", Text, nullable=False),
    *(Column(name, Double, nullable=False) for name in ("max_abs", "max_rel", "rmse", "nrmse", "cosine")),
    Column("top1_agreement", Double),
    Column("top5_agreement", Double),
    Column("items", Integer, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    ForeignKeyConstraint(["run_id", "deployment_id"], ["deployments.run_id", "deployments.deployment_id"]),
    not_negative("max_abs", "max_rel", "rmse", "nrmse", "top1_agreement", "top5_agreement", "items"),
    CheckConstraint("batch > 0", name="batch_positive"),
)

calibrations = Table(
    "calibrations",
    metadata,
    _run_id(),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("protocol", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    # A resumed run calibrates again, and judges its own cells by that.
    Column("started_at", DateTime(timezone=True), primary_key=True),
    Column("request_bytes", BigInteger, nullable=False),
    Column("response_bytes", BigInteger, nullable=False),
    *estimate("ceiling", "rps", nullable=False),
    *(part for quantile in QUANTILES for part in estimate(f"floor_{quantile}", "ns")),
    Column("other_quantiles", JSONB, nullable=False),
    Column("client_cpu_ns_per_request", Double, nullable=False),
    Column("ceiling_by", Text, nullable=False),
    Column("failure", Text),
    CheckConstraint("batch > 0", name="batch_positive"),
    not_negative("round", "request_bytes", "response_bytes", "client_cpu_ns_per_request"),
)

missing_cells = Table(
    "missing_cells",
    metadata,
    _run_id(),
    Column("cell_id", Text, primary_key=True),
    Column("round", Integer, nullable=False),
    *case_columns(),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    not_negative("round"),
)
