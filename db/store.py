"""The database of nights, as the rest of nightbench sees it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from db import query
from db.engine import named_failures, open_engine
from db.ingest import Ingested, Refusal, ingest
from db.query import Night
from nightbench.record import Record

__all__ = ["Ingested", "Night", "Refusal", "Store"]


class Store:
    """A Postgres whose tables `db.migrate` has made. Connects when first asked; survives the database's restarts.

    Every method is one transaction, and raises `db.errors.DatabaseDown` if the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = open_engine(url)

    def ingest(self, records: Iterable[Record]) -> Ingested:
        """Write records, each once, however often it is sent; all that are admitted, or none."""
        with self._transaction() as connection:
            return ingest(connection, records)

    def records(self, run_id: str) -> list[Record]:
        """What a run came to, as records equal to the ones ingested; none for an unknown run.

        Of a run that was resumed, these are the latest end, the measurement of a cell that was missing at first, and
        the export that had failed at first. A trace's path is empty: its sha256 is kept, which names it.
        """
        with self._transaction() as connection:
            return query.records(connection, run_id)

    def cell_ids(self, run_id: str) -> frozenset[str]:
        """The cells of a run that are done: timed, or known to be missing."""
        with self._transaction() as connection:
            return query.cell_ids(connection, run_id)

    def history(self, limit: int = 20, suite: str | None = None) -> list[Night]:
        """The newest runs first."""
        with self._transaction() as connection:
            return query.history(connection, limit, suite)

    def run_id(self, prefix: str) -> str:
        """The one run meant by its id, by a beginning no other run has, or by ``last``; `UsageError` otherwise."""
        with self._transaction() as connection:
            return query.run_id(connection, prefix)

    def close(self) -> None:
        """Give the connections back. The store may be used again."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with named_failures(self._url), self._engine.begin() as connection:
            yield connection
