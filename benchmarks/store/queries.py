"""What dashboards ask: every query of the committed JSON, filled in as Grafana fills it in for a reader.

A reader opens a dashboard, and its variables are asked one after the other; where one offers "All", all are taken,
otherwise some are taken by chance. Then its annotations and panels are asked, for the dashboard's own time range or for
all there is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import Connection

from dashboards.grafana.expand import Panel, Window, expanded, panels
from dashboards.grafana.files import FOLDER

__all__ = ["Asked", "asked", "dashboards", "rows_of", "window_of"]

_SOME = 4
"""Series that a reader lays over each other."""
_RECENT = 60
"""Nights among which a reader chooses one."""


Values = dict[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query as Postgres gets it."""

    dashboard: str
    name: str
    sql: str
    panel: Panel | None = None
    """Whose first query it is."""
    values: Values = field(default_factory=dict)
    """What the reader has chosen by then."""


def dashboards() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("nightbench-*.json"))


def window_of(dashboard: str, end: datetime) -> Window:
    """The range that the dashboard opens with, if it opens then."""
    days = int(_read(dashboard)["time"]["from"].removeprefix("now-").removesuffix("d"))
    return Window(end - timedelta(days=days), end)


def asked(connection: Connection, dashboard: str, window: Window, rng: np.random.Generator) -> Iterator[Asked]:
    """All that is asked when a reader opens it."""
    house = _read(dashboard)
    values: Values = {}
    for variable in house["templating"]["list"]:
        name = str(variable["name"])
        if variable["type"] == "query":
            sql = expanded(_text_of(variable["query"]), window, values)
            yield Asked(dashboard, f"variable {name}", sql)
            values[name] = _chosen(variable, [str(row[-1]) for row in rows_of(connection, sql)], rng)
        else:
            values[name] = _given(variable, rng)
    for note in house.get("annotations", {}).get("list", []):
        target = note.get("target") or {}
        if "rawSql" in target:
            yield Asked(dashboard, f"annotation {note['name']}", expanded(target["rawSql"], window, values))
    for panel in _panels():
        if panel.dashboard == dashboard:
            for query in panel.queries:
                name = panel.title + (f" ({query.letter})" if len(panel.queries) > 1 else "")
                first = panel if query is panel.queries[0] else None
                yield Asked(dashboard, name, expanded(query.sql, window, values), first, values)


def rows_of(connection: Connection, sql: str) -> Sequence[Any]:
    return connection.exec_driver_sql(sql.replace("%", "%%")).fetchall()


@cache
def _panels() -> list[Panel]:
    return list(panels())


@cache
def _read(dashboard: str) -> dict[str, Any]:
    house: dict[str, Any] = json.loads((FOLDER / f"{dashboard}.json").read_text(encoding="utf-8"))
    return house


def _text_of(query: str | Mapping[str, str]) -> str:
    return query if isinstance(query, str) else query["rawSql"]


def _chosen(variable: Mapping[str, Any], there: Sequence[str], rng: np.random.Generator) -> str | Sequence[str]:
    if variable.get("includeAll"):
        return there
    if variable.get("multi"):
        return [str(each) for each in rng.choice(there, min(_SOME, len(there)), replace=False)]
    return str(rng.choice(there[:_RECENT] if variable["name"] == "run" else there))


def _given(variable: Mapping[str, Any], rng: np.random.Generator) -> str:
    if variable["type"] == "custom":
        # Of series that every case has.
        options = [str(option["value"]) for option in variable["options"]]
        return str(rng.choice([each for each in options if each.startswith("latency")] or options))
    return str(variable["query"])
