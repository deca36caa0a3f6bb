"""A query to Postgres, for which the SDK has no type, and the data source that all of them go to."""

from dataclasses import dataclass
from enum import StrEnum
from textwrap import dedent

from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models import dashboard

__all__ = ["SOURCE", "AnnotationSql", "Format", "Sql", "SqlQuery", "filled"]

SOURCE = dashboard.DataSourceRef(type_val="grafana-postgresql-datasource", uid="nightbench")
"""As `dashboards/provisioning` names it; its role can read and nothing else."""


class Format(StrEnum):
    """How Grafana reads the rows.

    See https://grafana.com/docs/grafana/latest/datasources/postgres/#time-series-queries.
    """

    TABLE = "table"
    """Columns as they are."""
    TIME_SERIES = "time_series"
    """A column ``time``, rising; every number a field; every text a label, one field each of its values."""


@dataclass(frozen=True, slots=True)
class Sql:
    """A query before it has a letter. Text in it may hold Grafana's macros and ``${variable:sqlstring}``."""

    text: str
    format: Format = Format.TABLE


def filled(text: str, **parts: str) -> str:
    """``text`` with each ``{name}`` replaced by its part. Not by `str.format`: ``${variable}`` is Grafana's."""
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


class SqlQuery(variants.Dataquery, builder.Builder[variants.Dataquery]):
    """What Grafana's Postgres data source is sent by a panel, as its query editor writes it."""

    def __init__(self, sql: Sql, letter: str = "A") -> None:
        self._sql, self._letter = sql, letter

    def build(self) -> variants.Dataquery:
        return self

    def to_json(self) -> dict[str, object]:
        return _query(self._sql, self._letter)


class AnnotationSql(dashboard.AnnotationTarget, builder.Builder[dashboard.AnnotationTarget]):
    """The same for annotations. The SDK knows Grafana's own store of annotations alone."""

    def __init__(self, sql: Sql) -> None:
        super().__init__()
        self._sql = sql

    def build(self) -> dashboard.AnnotationTarget:
        return self

    def to_json(self) -> dict[str, object]:
        return _query(self._sql, "annotation")


def _query(sql: Sql, letter: str) -> dict[str, object]:
    return {
        "refId": letter,
        "datasource": SOURCE,
        "format": sql.format,
        "editorMode": "code",
        "rawQuery": True,
        "rawSql": dedent(sql.text).strip(),
    }
