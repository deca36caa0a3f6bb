"""What Grafana's Postgres data source makes of a panel's queries: data frames.

After `pkg/tsdb/grafana-postgresql-datasource/sqleng/sql_engine.go` (time series: long to wide, all numbers floats, the
time named ``Time``, a lone label ``metric`` becomes the name) and `data.LongToWide` of grafana-plugin-sdk-go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from dashboards.grafana.expand import Panel, Query, Window, expanded

__all__ = ["Field", "Frame", "frames_of", "rows_of"]

Values = Mapping[str, str | Sequence[str]]
_OIDS = {
    1184: "time",
    1114: "time",
    16: "boolean",
    **dict.fromkeys((20, 21, 23, 700, 701, 1700), "number"),
}
"""By Postgres's numbers of types; all else is text."""


@dataclass(slots=True)
class Field:
    name: str
    type: str
    values: list[Any]
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """What the reader sees and overrides go by, where a frame has several fields."""
        return " ".join([self.name, *self.labels.values()])


@dataclass(slots=True)
class Frame:
    letter: str
    fields: list[Field]

    @property
    def length(self) -> int:
        return len(self.fields[0].values)


def frames_of(connection: Connection, panel: Panel, window: Window, values: Values) -> list[Frame]:
    """One frame a query, from the very SQL of the committed JSON."""
    return [_frame(connection, query, window, values) for query in panel.queries]


def rows_of(connection: Connection, sql: str) -> list[Field]:
    """The columns of a query, as tables show them."""
    result = connection.exec_driver_sql(sql.replace("%", "%%"))
    assert result.cursor is not None
    described = [(column[0], _OIDS.get(column[1], "string")) for column in result.cursor.description or ()]
    rows = result.fetchall()
    return [Field(name, kind, [_plain(row[place]) for row in rows]) for place, (name, kind) in enumerate(described)]


def _plain(value: Any) -> Any:
    """Times in milliseconds, as Grafana sends them."""
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return float(value) if isinstance(value, Decimal) else value


def _frame(connection: Connection, query: Query, window: Window, values: Values) -> Frame:
    columns = rows_of(connection, expanded(query.sql, window, values))
    return Frame(query.letter, _time_series(columns) if query.format == "time_series" else columns)


def _time_series(columns: list[Field]) -> list[Field]:
    time = next((column for column in columns if column.name == "time" and column.type == "time"), None)
    assert time is not None, f"no column named time that is a time among {[column.name for column in columns]}"
    assert time.values == sorted(time.values), "a long series must rise in time"
    numbers = [column for column in columns if column.type in {"number", "boolean"}]
    texts = [column for column in columns if column.type == "string"]
    assert numbers, "a time series needs a column of numbers"
    if not texts:
        assert len(set(time.values)) == len(time.values), "two rows of one series have the same time"
        return [Field("Time", "time", time.values), *(_floats(number) for number in numbers)]
    moments = sorted(set(time.values))
    place = {moment: index for index, moment in enumerate(moments)}
    wide: dict[tuple[str, tuple[str, ...]], Field] = {}
    for number in numbers:
        for at, value, *named in zip(time.values, number.values, *(text.values for text in texts), strict=True):
            labels = {text.name: str(each) for text, each in zip(texts, named, strict=True)}
            key = number.name, tuple(labels.values())
            into = wide.setdefault(key, Field(number.name, "number", [None] * len(moments), labels))
            assert into.values[place[at]] is None, f"two rows of {key} have the same time"
            into.values[place[at]] = None if value is None else float(value)
    for each in wide.values():
        if len(columns) == 3 and list(each.labels) == ["metric"]:
            each.name, each.labels = each.labels["metric"], {}
    return [Field("Time", "time", moments), *(wide[key] for key in sorted(wide))]


def _floats(column: Field) -> Field:
    return Field(column.name, "number", [None if value is None else float(value) for value in column.values])
