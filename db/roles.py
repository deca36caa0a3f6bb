"""The dashboards' role: it reads views, and nothing else."""

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from db.engine import describe, named_failures, open_engine
from nightbench.errors import UsageError

__all__ = ["READER", "ensure_reader"]

READER = "nightbench_reader"

_LOCK = 7_105_513_022
"""Two that change one role at once fail: "tuple concurrently updated"."""

# A dashboard left open must not hold the database busy, and a mistyped panel must not either.
_ALONE = """
ALTER ROLE nightbench_reader SET default_transaction_read_only = on;
ALTER ROLE nightbench_reader SET statement_timeout = '30s';
ALTER ROLE nightbench_reader SET idle_in_transaction_session_timeout = '60s';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM nightbench_reader;
GRANT USAGE ON SCHEMA public TO nightbench_reader;
DO $$
DECLARE name text;
BEGIN
    EXECUTE 'GRANT CONNECT ON DATABASE ' || quote_ident(current_database()) || ' TO nightbench_reader';
    FOR name IN
        SELECT quote_ident(relname) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm') AND pg_has_role(relowner, 'USAGE')
            AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
    LOOP
        EXECUTE 'GRANT SELECT ON public.' || name || ' TO nightbench_reader';
    END LOOP;
END $$;
"""


def ensure_reader(url: str, password: str) -> None:
    """Make the role, or give it this password; then let it read every view there is now.

    To be called after each migration. The server is sent the password's SCRAM verifier (RFC 5802) alone, so that no
    log of statements can hold more. Raises `UsageError` if whoever ``url`` names may not make roles.
    """
    engine = open_engine(url, pooled=False)
    try:
        with named_failures(url), engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _make(connection, password)
            connection.execute(text(_ALONE))
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != "42501":  # insufficient_privilege
            raise
        raise UsageError(
            f"database: {describe(url)} does not let its user make the role {READER}; give that user CREATEROLE,"
            " or unset NIGHTBENCH_READER_PASSWORD and make the role by hand"
        ) from None


def _make(connection: Connection, password: str) -> None:
    from psycopg2.extensions import encrypt_password  # type: ignore[import-untyped]  # it has no types of its own

    known = text("SELECT 1 FROM pg_roles WHERE rolname = :name")
    verb = "ALTER" if connection.execute(known, {"name": READER}).first() else "CREATE"
    verifier = encrypt_password(password, READER, connection.connection.dbapi_connection, "scram-sha-256")
    # The driver puts parameters in itself, so that they may stand where Postgres takes none.
    connection.execute(text(f"{verb} ROLE nightbench_reader LOGIN CONNECTION LIMIT 20 PASSWORD :it"), {"it": verifier})
