"""What Grafana makes of a panel's SQL before Postgres sees it, for tests and benchmarks of the very queries.

Macros as in Grafana's `pkg/tsdb/grafana-postgresql-datasource/macros.go`, variables as in its `sqlstring` format
(https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/#sqlstring). Both are expanded exactly; an
unknown macro or variable is an error here, where Grafana would leave it for Postgres to refuse.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Panel", "Query", "Window", "expanded", "panels"]

_FOLDER = Path(__file__).parent
_MACRO = re.compile(r"\$__(\w+)(?:\(([^)]*)\))?")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")


@dataclass(frozen=True, slots=True)
class Window:
    """The time range of a dashboard."""

    start: datetime
    end: datetime
    interval_s: int = 3600
    """What Grafana computes as ``$__interval`` from the range and the panel's width."""


@dataclass(frozen=True, slots=True)
class Query:
    letter: str
    sql: str
    format: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of the committed JSON."""

    dashboard: str
    number: int
    type: str
    title: str
    queries: tuple[Query, ...]
    json: Mapping[str, Any]


def panels(folder: Path = _FOLDER) -> Iterator[Panel]:
    """All panels of all dashboards that show data."""
    for path in sorted(folder.glob("nightbench-*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            if panel["type"] != "row":
                queries = tuple(Query(each["refId"], each["rawSql"], each["format"]) for each in panel["targets"])
                yield Panel(path.stem, panel["id"], panel["type"], panel["title"], queries, panel)


def expanded(sql: str, window: Window, values: Mapping[str, str | Sequence[str]]) -> str:
    """The SQL that Postgres gets: first variables, as Grafana's front end does, then macros, as its back end does."""

    def variable(found: re.Match[str]) -> str:
        name, style = found.groups()
        if name.startswith("__"):
            return found.group(0)
        if style != "sqlstring":
            raise ValueError(f"{found.group(0)} is not quoted; write it as ${{{name}:sqlstring}}")
        return _sqlstring(values[name])

    def macro(found: re.Match[str]) -> str:
        name, arguments = found.group(1), [part.strip() for part in (found.group(2) or "").split(",")]
        return _MACROS[name](window, arguments)

    return _MACRO.sub(macro, _VARIABLE.sub(variable, sql))


def _sqlstring(value: str | Sequence[str]) -> str:
    many = [value] if isinstance(value, str) else value
    return ",".join("'" + each.replace("'", "''") + "'" for each in many)


def _moment(at: datetime) -> str:
    """Go's RFC3339Nano in UTC: no digits after the second where there are none."""
    text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"'{text}Z'"


def _epoch(at: datetime) -> str:
    return str(int(at.timestamp()))


def _seconds(interval: str) -> int:
    """Go's durations with Grafana's days and longer: ``'5m'``, ``1d``."""
    found = re.fullmatch(r"['\"]?(\d+)(ms|s|m|h|d|w|M|y)['\"]?", interval)
    if found is None:
        raise ValueError(f"{interval} is not an interval")
    sizes = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800, "M": 2_592_000, "y": 31_536_000}
    return max(1, int(found[1]) // 1000) if found[2] == "ms" else int(found[1]) * sizes[found[2]]


def _group(window: Window, arguments: Sequence[str]) -> str:
    seconds = _seconds(arguments[1])
    return f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"


_MACROS: dict[str, Callable[[Window, Sequence[str]], str]] = {
    "time": lambda window, given: f'{given[0]} AS "time"',
    "timeEpoch": lambda window, given: f'extract(epoch from {given[0]}) as "time"',
    "timeFilter": lambda window, given: f"{given[0]} BETWEEN {_moment(window.start)} AND {_moment(window.end)}",
    "timeFrom": lambda window, given: _moment(window.start),
    "timeTo": lambda window, given: _moment(window.end),
    "timeGroup": _group,
    "timeGroupAlias": lambda window, given: _group(window, given) + ' AS "time"',
    "unixEpochFilter": lambda window, given: (
        f"{given[0]} >= {_epoch(window.start)} AND {given[0]} <= {_epoch(window.end)}"
    ),
    "unixEpochFrom": lambda window, given: _epoch(window.start),
    "unixEpochTo": lambda window, given: _epoch(window.end),
    "interval": lambda window, given: f"{window.interval_s}s",
    "interval_ms": lambda window, given: str(window.interval_s * 1000),
}
