"""The tables of loads that several machines send: gone again when the load is over."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from db.columns import metadata

__all__ = ["spread_parts", "spreads"]

spreads = Table(
    "spreads",
    metadata,
    Column("spread_id", Text, primary_key=True),
    Column("machines", Integer, nullable=False),
    Column("job", JSONB, nullable=False),
    Column("pool", LargeBinary, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("start_at_ns", BigInteger),
    CheckConstraint("machines > 0", name="machines_positive"),
)

spread_parts = Table(
    "spread_parts",
    metadata,
    Column("spread_id", Text, ForeignKey("spreads.spread_id", ondelete="CASCADE"), primary_key=True),
    Column("machine", Integer, primary_key=True, autoincrement=False),
    Column("host", Text, nullable=False),
    Column("result", JSONB),
    Column("samples", LargeBinary),
    CheckConstraint("machine >= 0", name="machine_counted"),
)
