"""The tables of what is left of a night when its measurements are dropped, and of what is newest."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, ForeignKey, Index, Integer, Table, Text, text

from db.columns import metadata, not_negative
from db.judge_tables import judgements

__all__ = ["judged_series", "latest_cells", "night_doubts", "night_rollups", "night_series", "night_servers"]

_FIGURES = (
    *("throughput_rps", "latency_p50_ns", "latency_p90_ns", "latency_p95_ns", "latency_p99_ns", "offered_rps"),
    *("answer_rps", "ttft_p50_ns", "ttft_p99_ns", "itl_p50_ns", "itl_p99_ns", "tokens_per_s", "goodput_rps"),
)

night_rollups = Table(
    "night_rollups",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("began_at", DateTime(timezone=True)),
    Column("measured", Integer, nullable=False),
    Column("doubted", Integer, nullable=False),
    Column("raw_dropped", Boolean, nullable=False, server_default="false"),
    not_negative("measured", "doubted"),
)
"""One row a night whose measurements are rolled up. What is added to it afterwards takes the row away, and with it
those of its series, until it is rolled up anew. ``raw_dropped``: its measurements are gone, and stay away."""

night_series = Table(
    "night_series",
    metadata,
    Column("fingerprint", Text, ForeignKey("cases.fingerprint"), primary_key=True),
    Column("run_id", Text, ForeignKey("night_rollups.run_id", ondelete="CASCADE"), primary_key=True),
    Column("rounds", Integer, nullable=False),
    Column("doubted_rounds", Integer, nullable=False),
    Column("ok_count", BigInteger, nullable=False),
    Column("failed_count", BigInteger, nullable=False),
    *(Column(name, Double) for name in _FIGURES),
    Column("gpus", Integer),
    Column("joules_per_request", Double),
    Index("ix_night_series_run_id", "run_id"),
)
"""One row a cell and night over its rounds: each figure's median over those in which nothing is said against it.

``gpus``: the most that worked in any round, kept since telemetry goes sooner than this; null where nobody looked."""

night_servers = Table(
    "night_servers",
    metadata,
    Column("run_id", Text, ForeignKey("night_rollups.run_id", ondelete="CASCADE"), primary_key=True),
    Column("server", Text, primary_key=True),
    Column("ok_count", BigInteger, nullable=False),
    Column("failed_count", BigInteger, nullable=False),
    not_negative("ok_count", "failed_count"),
)
"""One row a night and server: the requests of all its cells."""

night_doubts = Table(
    "night_doubts",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("suite", Text, primary_key=True),
    Column("server", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("series", Integer, nullable=False),
    not_negative("series"),
)
"""One row a night, server and reason: how many judged series are doubted for it in any figure.

Of ``series_points`` alone, and so as lasting: what is added to a night's measurements does not take it away."""

# The few verdicts that are written into plots, found without reading the fine nights between them.
Index(
    "ix_judgements_noted",
    *(judgements.c.fingerprint, judgements.c.metric, judgements.c.run_id),
    postgresql_where=text("verdict IN ('suspected', 'regressed', 'improved', 'environment')"),
)

judged_series = Table(
    "judged_series",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("suite", Text, primary_key=True),
)
"""Which series there are, so that nobody has to read all their points to say so."""

latest_cells = Table(
    "latest_cells",
    metadata,
    Column("fingerprint", Text, ForeignKey("cases.fingerprint"), primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("cell_id", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
)
"""Where the newest measurement of each series is, so that nobody has to look through all months for it."""
