"""A database that is connected to when first asked, one transaction a question."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from db.engine import named_failures, open_engine
from db.turns import take_turn

__all__ = ["Database"]


class Database:
    """What every part of `db.store.Store` does its work on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = open_engine(url)

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

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A transaction in which nobody else writes what nights leave."""
        with self._transaction() as connection:
            take_turn(connection)
            yield connection

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Each statement a transaction of its own, as ``VACUUM`` must be."""
        with named_failures(self._url), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
