"""The tables of judging: what was found beside the measurements, the judged series, and what was said of them.

Suites, metrics and verdicts are plain text, like all vocabularies that the domain owns.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from db.columns import estimate, metadata, not_negative, whole_or_absent

__all__ = [
    "canaries",
    "change_points",
    "confirmations",
    "gate_findings",
    "judgements",
    "kits",
    "run_kits",
    "series_baselines",
    "series_points",
    "trials",
]


def _run_id() -> Column[str]:
    return Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True)


def _change_is(p_value: str = "p_value") -> CheckConstraint:
    return CheckConstraint(f"{p_value} BETWEEN 0 AND 1", name="p_value_is_a_probability")


kits = Table(
    "kits",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("files", JSONB, nullable=False),
)
"""What servers are made of, once for all the nights that had it."""

run_kits = Table(
    "run_kits",
    metadata,
    _run_id(),
    Column("server", Text, primary_key=True),
    Column("kit_sha256", Text, ForeignKey("kits.sha256"), nullable=False),
)

canaries = Table(
    "canaries",
    metadata,
    _run_id(),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("canary", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    # A resumed run does them again.
    Column("started_at", DateTime(timezone=True), primary_key=True),
    *estimate("duration", "ns"),
    Column("failure", Text),
    not_negative("round"),
    CheckConstraint("duration_ns IS NOT NULL OR failure IS NOT NULL", name="done_or_failed"),
)

gate_findings = Table(
    "gate_findings",
    metadata,
    _run_id(),
    Column("cell_key", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("expectation", Text, primary_key=True),
    Column("figures", ARRAY(Text), primary_key=True),
    Column("detail", Text, nullable=False),
)

judgements = Table(
    "judgements",
    metadata,
    _run_id(),
    Column("fingerprint", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("since", Text),
    Column("last_before", Text),
    Column("nights", Integer),
    *estimate("before", "value"),
    *estimate("after", "value"),
    # Computed by the database, so that it cannot disagree with what it is the ratio of.
    Column("ratio", Double, Computed("after_value / nullif(before_value, 0)", persisted=True)),
    Column("p_value", Double),
    Column("firm", Boolean),
    Column("confirmation_id", Text),
    whole_or_absent("change", "since", "last_before", "nights", "before_value", "after_value", "p_value", "firm"),
    not_negative("nights"),
    _change_is(),
    Index("ix_judgements_series", "fingerprint", "metric"),
)

trials = Table(
    "trials",
    metadata,
    _run_id(),
    Column("confirmation_id", Text, primary_key=True),
    Column("pair", Integer, primary_key=True, autoincrement=False),
    Column("side", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("deployment_id", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("figures", JSONB, nullable=False),
    Column("failure", Text),
    not_negative("pair", "place"),
)

confirmations = Table(
    "confirmations",
    metadata,
    _run_id(),
    Column("confirmation_id", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("good_run_id", Text, nullable=False),
    Column("changed", JSONB, nullable=False),
    Column("unrestored", JSONB, nullable=False),
    *estimate("ratio", "value"),
    Column("pairs", Integer, nullable=False),
    Column("spent_ns", BigInteger, nullable=False),
    not_negative("pairs", "spent_ns"),
)

series_points = Table(
    "series_points",
    metadata,
    Column("suite", Text),
    Column("fingerprint", Text),
    Column("metric", Text),
    Column("run_id", Text, ForeignKey("runs.run_id")),
    Column("value", Double, nullable=False),
    Column("low", Double),
    Column("high", Double),
    Column("doubts", ARRAY(Text), nullable=False),
    # Not NaN either, which Postgres counts as the greatest number.
    CheckConstraint("value > '-Infinity' AND value < 'Infinity'", name="finite"),
    CheckConstraint("low <= value AND value <= high", name="interval"),
    # A night is written, and read for judging, as a whole.
    Index("ix_series_points_run_id", "run_id"),
    # A series over all its nights is asked for without its suite.
    PrimaryKeyConstraint("fingerprint", "metric", "suite", "run_id"),
)
"""One night of one series, over its rounds: what history is judged by."""

series_baselines = Table(
    "series_baselines",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("suite", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("since_run_id", Text, ForeignKey("runs.run_id"), nullable=False),
    Column("why", Text, nullable=False),
    Column("anchor", Double),
    Column("anchor_low", Double),
    Column("anchor_high", Double),
    UniqueConstraint("suite", "fingerprint", "metric", "since_run_id", name="uq_series_baselines_series"),
    CheckConstraint(
        "anchor_low <= anchor AND anchor <= anchor_high"
        " AND (anchor IS NOT NULL OR num_nonnulls(anchor_low, anchor_high) = 0)",
        name="anchor_interval",
    ),
)
"""From which night on a series is its own history. Of several rows of one series the highest ``number`` counts."""

change_points = Table(
    "change_points",
    metadata,
    Column("suite", Text),
    Column("fingerprint", Text),
    Column("metric", Text),
    Column("run_id", Text, ForeignKey("runs.run_id")),
    Column("before", Double, nullable=False),
    Column("after", Double, nullable=False),
    Column("p_value", Double, nullable=False),
    _change_is(),
    PrimaryKeyConstraint("fingerprint", "metric", "suite", "run_id"),
)
"""Where the whole history of a series steps, seen from today: for the eye. No verdict rests on it."""
