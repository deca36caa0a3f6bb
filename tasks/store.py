"""Stage: bring the spool into the database. Its absence costs nothing: the spool keeps until it is back."""

from typing import TYPE_CHECKING

from db.connect import database_url
from db.drain import Drained, drain
from db.errors import DatabaseDown
from db.migrate import migrate
from db.store import Store
from nightbench.settings import Settings

if TYPE_CHECKING:
    from tasks.session import Session

__all__ = ["ingest", "open_store", "store"]


def store(session: "Session") -> Drained | None:
    """Ingest everything spooled so far; ``None`` when there is no database to take it now."""
    if session.store is None:
        return None
    session.progress.doing("storing")
    try:
        return drain(session.settings.spool, session.store)
    except DatabaseDown as error:
        session.progress.note(f"{error}; the results wait in the spool for `nightbench ingest`")
        return None


def ingest(settings: Settings) -> Drained:
    """Ingest every spool file on this machine; what is known already is skipped."""
    with open_store(settings) as target:
        return drain(settings.spool, target)


def open_store(settings: Settings) -> Store:
    """The user's database, or this machine's embedded one, started if need be; its tables up to date.

    Raises:
        UsageError: the user's database cannot be reached, or is newer than this nightbench.
    """
    url = database_url(settings)
    migrate(url)
    return Store(url)
