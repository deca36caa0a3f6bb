"""Loads that several machines send together."""

from alembic import op

revision = "r0010"
down_revision = "r0009"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE spreads (
    spread_id TEXT NOT NULL,
    machines INTEGER NOT NULL,
    job JSONB NOT NULL,
    pool BYTEA NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    start_at_ns BIGINT,
    CONSTRAINT pk_spreads PRIMARY KEY (spread_id),
    CONSTRAINT ck_spreads_machines_positive CHECK (machines > 0)
);
CREATE TABLE spread_parts (
    spread_id TEXT NOT NULL,
    machine INTEGER NOT NULL,
    host TEXT NOT NULL,
    result JSONB,
    samples BYTEA,
    CONSTRAINT pk_spread_parts PRIMARY KEY (spread_id, machine),
    CONSTRAINT ck_spread_parts_machine_counted CHECK (machine >= 0),
    CONSTRAINT fk_spread_parts_spread_id FOREIGN KEY(spread_id) REFERENCES spreads (spread_id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.execute(_TABLES)
