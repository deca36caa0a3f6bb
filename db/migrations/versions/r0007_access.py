"""Who may use the HTTP API, and what was changed through it."""

from alembic import op

revision = "r0007"
down_revision = "r0006"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE api_keys (
    key_id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_by TEXT NOT NULL,
    last_used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    revoked_by TEXT,
    CONSTRAINT pk_api_keys PRIMARY KEY (key_id),
    CONSTRAINT uq_api_keys_sha256 UNIQUE (sha256),
    CONSTRAINT ck_api_keys_revoked CHECK (num_nulls(revoked_at, revoked_by) IN (0, 2)),
    CONSTRAINT ck_api_keys_role_known CHECK (role IN ('viewer', 'operator', 'admin'))
);
CREATE UNIQUE INDEX uq_api_keys_live_name ON api_keys (name) WHERE revoked_at IS NULL;
CREATE TABLE api_audit (
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    who TEXT NOT NULL,
    key_id TEXT,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    what JSONB NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_api_audit PRIMARY KEY (number),
    CONSTRAINT ck_api_audit_begun_or_settled CHECK ((settled_at IS NULL) = (outcome = 'begun')),
    CONSTRAINT fk_api_audit_key_id FOREIGN KEY(key_id) REFERENCES api_keys (key_id)
);
"""

# What was written down stays: a row is settled once, and nothing else about it changes. Only who owns the table can
# take this away, and that is not done by accident.
_KEPT = """
CREATE FUNCTION api_audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.outcome = 'begun' AND
        (OLD.number, OLD.at, OLD.who, OLD.key_id, OLD.address, OLD.action, OLD.what) IS NOT DISTINCT FROM
        (NEW.number, NEW.at, NEW.who, NEW.key_id, NEW.address, NEW.action, NEW.what)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'api_audit: what was written down is neither changed nor deleted';
END
$$;
CREATE TRIGGER api_audit_is_kept BEFORE UPDATE OR DELETE ON api_audit
    FOR EACH ROW EXECUTE FUNCTION api_audit_is_kept();
CREATE TRIGGER api_audit_is_never_emptied BEFORE TRUNCATE ON api_audit
    FOR EACH STATEMENT EXECUTE FUNCTION api_audit_is_kept();
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_KEPT)
