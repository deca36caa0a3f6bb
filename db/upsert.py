"""Rows into a table, each once by its primary key. A batch travels as one JSON document in one statement."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Connection,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from db.rows import Row

__all__ = ["insert_all", "insert_new", "json_rows"]

_Key = tuple[Any, ...]


def insert_new(connection: Connection, table: Table, rows: Sequence[Row], *, fill: str | None = None) -> set[_Key]:
    """Insert the rows not there yet; returns their keys. The first of several rows with one key counts.

    With ``fill``, a row whose ``fill`` column is empty is only a stand-in: the first row that has it replaces the
    stand-in, and counts as new.
    """
    key = [part.name for part in table.primary_key]
    unique = _first_of_each(rows, key, fill)
    if not unique:
        return set()
    names = list(rows[0])
    statement = insert(table).from_select(names, json_rows(table, names, unique))
    if fill is None:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    else:
        rest = {name: statement.excluded[name] for name in names if name not in key}
        better = and_(table.c[fill].is_(None), statement.excluded[fill].is_not(None))
        statement = statement.on_conflict_do_update(index_elements=key, set_=rest, where=better)
    return {_hashable(inserted) for inserted in connection.execute(statement.returning(*table.primary_key))}


def insert_all(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows none of which can be there yet: without looking for each, and with nothing sent back.

    Raises:
        IntegrityError: one of them was there.
    """
    if rows:
        names = list(rows[0])
        connection.execute(insert(table).from_select(names, json_rows(table, names, rows)))


def json_rows(table: Table, names: Sequence[str], rows: Sequence[Row]) -> Select[Any]:
    """Rows given as JSON values, as a query whose columns have ``table``'s types."""
    # As text, and so not written by Python's own encoder, which takes most of a night's time for it.
    document = cast(bindparam("rows", to_json(rows, inf_nan_mode="strings").decode(), Text), JSON)
    source = func.json_populate_recordset(literal_column(f"NULL::{table.name}"), document)
    return select(*source.table_valued(*(column(name, table.c[name].type) for name in names)).c)


def _first_of_each(rows: Sequence[Row], key: Sequence[str], fill: str | None) -> list[Row]:
    """One row a key, since a statement cannot touch a row twice."""
    unique: dict[_Key, Row] = {}
    for fields in rows:
        name = _hashable(fields[part] for part in key)
        found = unique.setdefault(name, fields)
        if fill is not None and found[fill] is None and fields[fill] is not None:
            unique[name] = fields
    return list(unique.values())


def _hashable(key: Iterable[Any]) -> _Key:
    return tuple(tuple(part) if isinstance(part, list) else part for part in key)
