"""Which database is meant: the user's, proven to answer before any work, or this machine's embedded one."""

from db.embedded import start
from nightbench.errors import UsageError
from nightbench.settings import Settings

__all__ = ["database_url"]

_NAME = "environment: NIGHTBENCH_DATABASE_URL"
_EXAMPLE = "write it as postgresql://user:password@host:5432/database"


def database_url(settings: Settings) -> str:
    """The SQLAlchemy URL of a database that answers, starting the embedded one if the user gave none.

    Raises `UsageError` for a URL that is malformed, not Postgres's or not answered. The sentence names host, port and
    database, never the password.
    """
    if settings.database_url is None:
        return start(settings.home)
    from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError

    from db.engine import describe, open_engine, reason

    url = _normalised(settings.database_url)
    engine = open_engine(url, pooled=False)
    try:
        with engine.connect():
            return url
    except (OperationalError, InterfaceError, ProgrammingError) as error:
        why = _without_secrets(reason(error), url)
        raise UsageError(
            f"{_NAME}: {describe(url)} does not answer ({why}); start it or correct the URL, or unset it to use the"
            " embedded database"
        ) from None
    finally:
        engine.dispose()


def _normalised(given: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise UsageError(f"{_NAME}: it is not a URL; {_EXAMPLE}") from None
    dialect = url.drivername.split("+")[0]
    if dialect not in {"postgres", "postgresql"}:
        raise UsageError(f"{_NAME}: {dialect!r} is not Postgres; {_EXAMPLE}")
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def _without_secrets(text: str, url: str) -> str:
    from sqlalchemy import make_url

    parts = make_url(url)
    for secret in (parts.password, parts.query.get("password")):
        if isinstance(secret, str) and secret:
            text = text.replace(secret, "***")
    return text
