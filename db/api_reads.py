"""What the HTTP API reads: pages of runs, measurements and series, and the state of things now.

A page goes on ``after`` the last row of the one before, by what that row is called and not by counting rows: a night
that is stored meanwhile neither repeats nor hides one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, exists, func, literal, or_, select, tuple_

from db.alert_tables import alerts
from db.database import Database
from db.judge_tables import series_points
from db.load_columns import joined
from db.measurement_tables import cases, measurements
from db.query import Night
from db.rollup_tables import night_rollups
from db.rows import estimate_of
from db.tables import missing_cells, runs
from nightbench.access import NotFound
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.judge.alert import AlertKind
from nightbench.judge.series import Metric

__all__ = [
    "GoodNight",
    "MeasurementFilter",
    "ReadStore",
    "RunFilter",
    "SeriesFilter",
    "SeriesNight",
    "StoredMeasurement",
]

_RECENT = timedelta(days=90)
_QUANTILES = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What is ``None`` admits everything. Times are of a run's start: ``since`` is within, ``until`` is not."""

    suite: str | None = None
    hardware: str | None = None
    status: str | None = None
    """As a run ended, or ``unfinished``."""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    run_id: str | None = None
    suite: str | None = None
    fingerprint: str | None = None
    server: str | None = None
    model: str | None = None
    format: str | None = None
    precision: str | None = None
    protocol: str | None = None
    batch: int | None = None
    metric: str | None = None
    """Of `ReadStore.series_page` alone."""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class MeasurementFilter(SeriesFilter):
    doubted: bool | None = None


@dataclass(frozen=True, slots=True)
class StoredMeasurement:
    """One cell in one round, without its histogram and telemetry."""

    run_id: str
    suite: str
    cell_id: str
    round: int
    deployment_id: str
    fingerprint: str
    server: str
    model: str
    format: str
    precision: str
    protocol: str
    batch: int
    options: Mapping[str, bool | int | float | str]
    load: Mapping[str, Any]
    launcher: str
    hardware: str
    started_at: datetime
    measured_ns: int
    counts: Mapping[str, int]
    offered_rps: float | None
    throughput_rps: Estimate
    latency_ns: Mapping[str, Estimate]
    """From the intended time."""
    service_ns: Mapping[str, Estimate]
    """From the time it was sent."""
    ended_by: str
    doubted: bool
    """Whether the cell as a whole is; a doubt may concern some figures alone."""
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, slots=True)
class SeriesNight:
    """One figure of one series in one night, over its rounds."""

    run_id: str
    night: datetime
    suite: str
    fingerprint: str
    server: str
    model: str
    format: str
    precision: str
    protocol: str
    batch: int
    load: Mapping[str, Any]
    launcher: str
    hardware: str
    metric: Metric
    value: float
    low: float | None
    high: float | None
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoodNight:
    """The newest run of a suite on one kind of machine that completed with every planned cell measured."""

    suite: str
    hardware: str
    run_id: str
    started_at: datetime


class ReadStore(Database):
    """Each method is one transaction. ``after`` names the last of the page before; `NotFound` if there is no such."""

    def runs_page(self, wanted: RunFilter, limit: int, after: str | None = None) -> list[Night]:
        """The newest first. Runs whose own record was lost are not among them."""
        conditions = _of_runs(wanted)
        conditions += [runs.c[name] == value for name in ("suite", "hardware") if (value := getattr(wanted, name))]
        if wanted.status is not None:
            unfinished = wanted.status == "unfinished"
            conditions.append(runs.c.status.is_(None) if unfinished else runs.c.status == wanted.status)
        newest_first = runs.c.started_at.desc(), runs.c.run_id.desc()
        with self._transaction() as connection:
            if after is not None:
                place = tuple_(runs.c.started_at, runs.c.run_id)
                conditions.append(place < (_started(connection, after), after))
            query = _nights().where(*conditions).order_by(*newest_first).limit(limit)
            return [Night(*row) for row in connection.execute(query)]

    def run(self, run_id: str) -> Night:
        """One run; `NotFound` if there is none of exactly this id."""
        with self._transaction() as connection:
            _started(connection, run_id, "run")
            return Night(*connection.execute(_nights().where(runs.c.run_id == run_id)).one())

    def newest_runs(self) -> list[Night]:
        """The newest run of each suite on each kind of machine, also one that is under way.

        Suites are left out that had no run there in the last `_RECENT` before the newest of all: models of users' own
        make suites without end. By the newest run and not by the clock, so that none vanishes when all stand still.
        """
        place = runs.c.suite, runs.c.hardware
        newest = select(runs.c.run_id).distinct(*place).where(runs.c.started_at > _recent())
        ordered = newest.order_by(*place, runs.c.started_at.desc(), runs.c.run_id.desc()).subquery()
        query = _nights().join(ordered, ordered.c.run_id == runs.c.run_id).order_by(*place)
        with self._transaction() as connection:
            return [Night(*row) for row in connection.execute(query)]

    def newest_good(self) -> list[GoodNight]:
        """Of each suite and kind of machine that `newest_runs` has, the newest good night, however long ago."""
        place = runs.c.suite, runs.c.hardware
        recent = select(*place).where(runs.c.started_at > _recent()).distinct()
        whole = ~exists().where(missing_cells.c.run_id == runs.c.run_id)
        query = (
            select(*place, runs.c.run_id, runs.c.started_at)
            .distinct(*place)
            .where(runs.c.status == "completed", runs.c.planned_cells > 0, whole, tuple_(*place).in_(recent))
            .order_by(*place, runs.c.started_at.desc(), runs.c.run_id.desc())
        )
        with self._transaction() as connection:
            return [GoodNight(*row) for row in connection.execute(query)]

    def ends(self, run_ids: Collection[str]) -> dict[str, datetime | None]:
        """Of those of these runs whose beginning or end is stored, when they ended; ``None`` if that is not."""
        known = or_(runs.c.started_at.is_not(None), runs.c.finished_at.is_not(None))
        query = select(runs.c.run_id, runs.c.finished_at).where(runs.c.run_id.in_(run_ids), known)
        with self._transaction() as connection:
            return dict(connection.execute(query).tuples().all())

    def live_alerts(self) -> dict[AlertKind, int]:
        """How many are open or acknowledged, by kind; every kind has its number."""
        query = select(alerts.c.kind, func.count()).where(alerts.c.closed_at.is_(None)).group_by(alerts.c.kind)
        with self._transaction() as connection:
            found: dict[str, int] = dict(connection.execute(query).tuples().all())
        return {kind: found.get(kind, 0) for kind in AlertKind}

    def measurements_page(
        self, wanted: MeasurementFilter, limit: int, after: tuple[str, str] | None = None
    ) -> list[StoredMeasurement]:
        """The cells of the newest run first. ``after`` is a run's and a cell's id."""
        here = measurements.c
        conditions = [*_of_series(wanted), *_of_runs(wanted)]
        if wanted.doubted is not None:
            conditions.append(here.doubted.is_(wanted.doubted))
        # Run by run, so that a page reads no more runs than it shows: cells are kept by their run.
        order = (runs.c.started_at, here.run_id, here.cell_id)
        kept = [column for column in here if column.name not in {"histogram", "context", "search"}]
        own = [column for column in cases.c if column.name != "fingerprint"]
        query = (
            select(*kept, *own, func.coalesce(runs.c.suite, "unknown").label("suite"))
            .join_from(runs, measurements, here.run_id == runs.c.run_id)
            .join(cases, cases.c.fingerprint == here.fingerprint)
            .order_by(*(column.desc() for column in order))
            .limit(limit)
        )
        with self._transaction() as connection:
            if after is not None:
                conditions += _beyond(order, _started(connection, after[0]), after)
            found = connection.execute(query.where(*conditions))
            return [_measurement(dict(row._mapping)) for row in found]

    def series_page(
        self, wanted: SeriesFilter, limit: int, after: tuple[str, str, str] | None = None
    ) -> list[SeriesNight]:
        """The newest night first. ``after`` is a run's id, a fingerprint and a metric."""
        here = series_points.c
        conditions = [*_of_series(wanted), *_of_runs(wanted)]
        if wanted.metric is not None:
            conditions.append(here.metric == wanted.metric)
        order = (runs.c.started_at, runs.c.run_id, here.fingerprint, here.metric)
        own = [column for column in cases.c if column.name != "fingerprint"]
        query = (
            select(*here, runs.c.started_at.label("night"), *own)
            .join_from(series_points, cases, cases.c.fingerprint == here.fingerprint)
            .join(runs, runs.c.run_id == here.run_id)
            .order_by(*(column.desc() for column in order))
            .limit(limit)
        )
        with self._transaction() as connection:
            if after is not None:
                conditions += _beyond(order, _started(connection, after[0]), after)
            return [_series_night(dict(row._mapping)) for row in connection.execute(query.where(*conditions))]


def _recent() -> ColumnElement[datetime]:
    """When what is recent begins. A run from the future, of a clock that is wrong, makes none of the others old."""
    newest = select(func.max(runs.c.started_at)).scalar_subquery()
    return func.least(newest, func.now()) - literal(_RECENT)


def _started(connection: Connection, run_id: str, name: str = "after") -> datetime:
    known = select(runs.c.started_at).where(runs.c.run_id == run_id, runs.c.started_at.is_not(None))
    found: datetime | None = connection.execute(known).scalar_one_or_none()
    if found is None:
        raise NotFound(f"{name}: there is no run {run_id!r}; GET /api/v1/runs lists them")
    return found


def _nights() -> Select[Any]:
    """The fields of `db.query.Night`, in their order. What was rolled up need not be counted."""

    def count(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
        return select(func.count()).where(table.c.run_id == runs.c.run_id, *conditions).scalar_subquery()

    return select(
        runs.c.run_id,
        runs.c.suite,
        runs.c.started_at,
        runs.c.finished_at,
        runs.c.status,
        runs.c.planned_cells,
        func.coalesce(night_rollups.c.measured, count(measurements)),
        count(missing_cells),
        func.coalesce(night_rollups.c.doubted, count(measurements, measurements.c.doubted)),
        runs.c.hardware,
    ).select_from(runs.outerjoin(night_rollups))


def _beyond(order: Sequence[ColumnElement[Any]], started: datetime, after: Sequence[str]) -> list[ColumnElement[bool]]:
    """What follows in descending ``order``. That it is of no later run Postgres does not see in that by itself."""
    return [runs.c.started_at <= started, tuple_(*order) < (started, *after)]


def _of_runs(wanted: RunFilter | SeriesFilter) -> list[ColumnElement[bool]]:
    """Runs whose own record was lost have no beginning, and no place among the others."""
    conditions: list[ColumnElement[bool]] = [runs.c.started_at.is_not(None)]
    if wanted.since is not None:
        conditions.append(runs.c.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(runs.c.started_at < wanted.until)
    return conditions


def _of_series(wanted: SeriesFilter) -> list[ColumnElement[bool]]:
    columns: dict[str, ColumnElement[Any]] = {"run_id": runs.c.run_id, "suite": runs.c.suite}
    names = ("fingerprint", "server", "model", "format", "precision", "protocol", "batch")
    columns |= {name: cases.c[name] for name in names}
    given = {name: getattr(wanted, name) for name in columns}
    return [columns[name] == value for name, value in given.items() if value is not None]


def _measurement(row: dict[str, Any]) -> StoredMeasurement:
    times = {
        f"{name}_ns": {
            quantile: Estimate(**figure)
            for quantile in _QUANTILES
            if (figure := estimate_of(row, f"{name}_{quantile}", "ns"))["value"] is not None
        }
        for name in ("latency", "service")
    }
    row |= times | _common(row)
    row["throughput_rps"] = Estimate(**estimate_of(row, "throughput", "rps"))
    row["doubts"] = tuple(
        Doubt(Reason(each["reason"]), each["detail"], tuple(each["figures"])) for each in row["doubts"]
    )
    return StoredMeasurement(**{field.name: row[field.name] for field in fields(StoredMeasurement)})


def _series_night(row: dict[str, Any]) -> SeriesNight:
    row |= _common(row) | {"metric": Metric(row["metric"]), "doubts": tuple(row["doubts"])}
    return SeriesNight(**{field.name: row[field.name] for field in fields(SeriesNight)})


def _common(row: dict[str, Any]) -> dict[str, Any]:
    load = {name: value for name, value in joined(row).items() if value is not None}
    return {"load": {"kind": row["load_kind"], **load}, "launcher": row["launcher"] or "process"}
