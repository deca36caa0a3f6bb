"""The tables of alerts and of the messages about them. Their rows change, and every change of an alert is kept.

A night is named here without a reference to ``runs``: a missing night has a name and an alert, but no run.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from db.columns import metadata, not_negative

__all__ = ["alert_events", "alert_nights", "alerts", "notices"]

alerts = Table(
    "alerts",
    metadata,
    Column("number", Integer, Identity(always=True), primary_key=True),
    Column("suite", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("members", JSONB, nullable=False),
    Column("changed", JSONB, nullable=False),
    Column("severity", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("opened_run_id", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("last_run_id", Text, nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Column("why", Text, nullable=False),
    CheckConstraint("(closed_at IS NULL) = (state IN ('open', 'acknowledged'))", name="closed_or_live"),
    # One live alert for one thing, whoever raises it and however many do at once.
    Index(
        "uq_alerts_live",
        *("suite", "kind", "subject"),
        unique=True,
        postgresql_where=text("closed_at IS NULL"),
    ),
    Index("ix_alerts_opened_at", "opened_at"),
)

alert_nights = Table(
    "alert_nights",
    metadata,
    Column("number", Integer, ForeignKey("alerts.number"), primary_key=True, autoincrement=False),
    Column("run_id", Text, primary_key=True),
)
"""The nights on which an alert's finding was found, each once, however often it is judged."""

alert_events = Table(
    "alert_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("number", Integer, ForeignKey("alerts.number"), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("by_person", Boolean, nullable=False),
    Column("run_id", Text),
    Column("why", Text, nullable=False),
    Index("ix_alert_events_number", "number"),
)

notices = Table(
    "notices",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("sending_since", DateTime(timezone=True)),
    Column("settled_at", DateTime(timezone=True)),
    Column("error", Text, nullable=False, server_default=""),
    UniqueConstraint("run_id", "channel", name="uq_notices_run_id"),
    not_negative("attempts"),
    CheckConstraint(
        "CASE state WHEN 'waiting' THEN num_nonnulls(sending_since, settled_at) = 0"
        " WHEN 'sending' THEN sending_since IS NOT NULL AND settled_at IS NULL"
        " ELSE settled_at IS NOT NULL END",
        name="state_shape",
    ),
)
"""Messages to send, one a night and channel. A row is ``sending`` in the database before the first byte leaves."""
