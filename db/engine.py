"""How Postgres is reached, and how its failures are named. Passwords never leave this room."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from db.errors import DatabaseDown
from nightbench.errors import UsageError

__all__ = ["describe", "named_failures", "open_engine", "reason"]

_CONNECT_TIMEOUT_S = 5


def open_engine(url: str, *, pooled: bool = True, autocommit: bool = False) -> Engine:
    """An engine whose sessions speak UTC and whose errors show no values. Connects to nothing yet."""
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
        hide_parameters=True,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": "nightbench",
            "options": "-c timezone=UTC -c client_min_messages=warning",
        },
        # A pooled connection is tried before use: it may be older than the database's last restart.
        **({"pool_pre_ping": True} if pooled else {"poolclass": NullPool}),
    )


def describe(url: str) -> str:
    """``host:port/database`` for people: never the user's password."""
    parts = make_url(url)
    host = parts.host or parts.query.get("host") or "localhost"
    return f"{host}:{parts.port or 5432}/{parts.database or parts.username or ''}"


def reason(error: OperationalError | InterfaceError | ProgrammingError) -> str:
    """The first line of what the driver says, which is the one that says why, without naming the server again."""
    first = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
    return first.rpartition(" failed: ")[2].strip().rstrip(".")


@contextmanager
def named_failures(url: str) -> Iterator[None]:
    """Turn what the driver raises into `DatabaseDown`, or `UsageError` for a database nobody has migrated."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise DatabaseDown(f"database: {describe(url)} does not answer: {reason(error)}") from error
    except ProgrammingError as error:
        if "does not exist" not in reason(error):
            raise
        raise UsageError(
            f"database: {describe(url)} holds no nightbench tables of this version; run `nightbench up` to make them"
        ) from error
