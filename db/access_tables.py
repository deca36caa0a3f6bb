"""The tables of the HTTP API's keys and of what was changed with them."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from db.columns import metadata, whole_or_absent

__all__ = ["api_audit", "api_keys"]

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_by", Text),
    UniqueConstraint("sha256", name="uq_api_keys_sha256"),
    whole_or_absent("revoked", "revoked_at", "revoked_by"),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role_known"),
    # A name says who it was, so no two keys that work have the same.
    Index("uq_api_keys_live_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

api_audit = Table(
    "api_audit",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("who", Text, nullable=False),
    Column("key_id", Text, ForeignKey("api_keys.key_id")),
    Column("address", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("what", JSONB, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("settled_at", DateTime(timezone=True)),
    CheckConstraint("(settled_at IS NULL) = (outcome = 'begun')", name="begun_or_settled"),
)
"""A row is ``begun`` in the database before anything is done, and settled once: `db.migrations` has the trigger that
refuses every other change of it."""
