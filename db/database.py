"""A database that is connected to when first asked, one transaction a question."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from db.engine import named_failures, open_engine

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
