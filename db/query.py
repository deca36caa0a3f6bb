"""Reading a night back: as the records it was made of, or as one line of history."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from sqlalchemy import JSON, ColumnElement, Connection, Select, Table, case, func, select, union

from db.judge_rows import canary, confirmation, judgement
from db.judge_tables import canaries, confirmations, gate_findings, judgements, kits, run_kits, trials
from db.measurement_tables import cases, measurements, telemetry
from db.rollup_tables import night_rollups
from db.rows import Row, calibration, measurement, record_of
from db.tables import artifacts, calibrations, deployments, missing_cells, parity, run_artifacts, runs, wire_parity
from nightbench.errors import UsageError
from nightbench.record import (
    ArtifactRecord,
    CalibrationRecord,
    CanaryRecord,
    ConfirmationRecord,
    DeploymentRecord,
    GateRecord,
    JudgementRecord,
    KitRecord,
    MeasurementRecord,
    MissingRecord,
    ParityRecord,
    Record,
    RunFinished,
    RunStarted,
    TrialRecord,
    WireParityRecord,
)

__all__ = ["Night", "cell_ids", "history", "records", "run_id"]


@dataclass(frozen=True, slots=True)
class Night:
    """One run in the history."""

    run_id: str
    suite: str
    started_at: datetime
    finished_at: datetime | None
    """``None`` while it runs, and for ever if it was killed."""
    status: str | None
    """``completed``, ``failed`` or ``cancelled``, once finished."""
    planned: int
    measured: int
    missing: int
    doubted: int
    hardware: str


def records(connection: Connection, run_id: str, kinds: Collection[type[Record]] = ()) -> list[Record]:
    """What a run came to, as records equal to the ones ingested; none for an unknown run. Only these kinds, if any
    are given.

    Of a trace its sha256 is kept, which names it; its path is not.
    """
    return [
        record for kind, read in _READERS.items() if not kinds or kind in kinds for record in read(connection, run_id)
    ]


def cell_ids(connection: Connection, run_id: str) -> frozenset[str]:
    """The cells of a run that are done: timed, or known to be missing."""
    done = union(*(select(table.c.cell_id).where(table.c.run_id == run_id) for table in (measurements, missing_cells)))
    return frozenset(connection.scalars(done))


def history(connection: Connection, limit: int, suite: str | None = None) -> list[Night]:
    """The newest runs first. A run whose own record was lost begins with its first timed cell."""
    began = _began_before(connection)
    lost = [case(began, value=runs.c.run_id)] if began else []
    began_at = func.coalesce(runs.c.started_at, night_rollups.c.began_at, *lost)
    query = (
        select(
            *(runs.c.run_id, runs.c.suite, runs.c.finished_at, runs.c.status, runs.c.planned_cells, runs.c.hardware),
            *(night_rollups.c.measured, night_rollups.c.doubted, began_at.label("began_at")),
        )
        .outerjoin(night_rollups)
        .where(began_at.is_not(None))
        .order_by(began_at.desc(), runs.c.run_id.desc())
        .limit(limit)
    )
    if suite is not None:
        query = query.where(runs.c.suite == suite)
    found = connection.execute(query).all()
    # Of few nights, each named: of all months' partitions only those are looked into that may hold them.
    counted = _counts(connection, [row.run_id for row in found if row.measured is None])
    missing = _count_missing(connection, [row.run_id for row in found])
    return [
        Night(
            row.run_id,
            row.suite or "unknown",
            row.began_at,
            row.finished_at,
            row.status,
            row.planned_cells or 0,
            row.measured if row.measured is not None else counted.get(row.run_id, (0, 0))[0],
            missing.get(row.run_id, 0),
            row.doubted if row.doubted is not None else counted.get(row.run_id, (0, 0))[1],
            row.hardware or "unknown",
        )
        for row in found
    ]


def _began_before(connection: Connection) -> dict[str, datetime]:
    """When the runs began of which neither their own record nor a roll-up says so."""
    unsaid = (
        select(runs.c.run_id)
        .outerjoin(night_rollups)
        .where(runs.c.started_at.is_(None), night_rollups.c.began_at.is_(None))
    )
    names = list(connection.scalars(unsaid))
    if not names:
        return {}
    first = func.min(measurements.c.started_at)
    cells = select(measurements.c.run_id, first).where(measurements.c.run_id.in_(names))
    return dict(connection.execute(cells.group_by(measurements.c.run_id)).tuples().all())


def _counts(connection: Connection, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """How many cells of these runs were timed, and how many of those are doubted as a whole."""
    if not names:
        return {}
    doubted = func.count().filter(measurements.c.doubted)
    query = select(measurements.c.run_id, func.count(), doubted).where(measurements.c.run_id.in_(names))
    return {name: (timed, doubts) for name, timed, doubts in connection.execute(query.group_by(measurements.c.run_id))}


def _count_missing(connection: Connection, names: Collection[str]) -> dict[str, int]:
    query = select(missing_cells.c.run_id, func.count()).where(missing_cells.c.run_id.in_(names))
    return dict(connection.execute(query.group_by(missing_cells.c.run_id)).tuples().all())


def run_id(connection: Connection, prefix: str) -> str:
    """The one run meant by its id, by a beginning no other run has, or by ``last``; `UsageError` if there is none."""
    found = _run_ids(connection, "" if prefix == "last" else prefix)
    if not found:
        what = "no run is stored yet" if prefix == "last" else f"no stored run begins with {prefix!r}"
        raise UsageError(f"run: {what}; `nightbench history` lists them, `nightbench ingest` brings in what is spooled")
    if prefix != "last" and prefix not in found and len(found) > 1:
        raise UsageError(
            f"run: {prefix!r} could be {', '.join(found[:3])}{' ...' * (len(found) > 3)}; write more of it"
        )
    return prefix if prefix in found else found[0]


def _run_ids(connection: Connection, prefix: str) -> list[str]:
    """The runs whose id begins so, newest first."""
    matching = runs.c.run_id.startswith(prefix, autoescape=True)
    query = select(runs.c.run_id).where(matching).order_by(_started_at().desc().nulls_last(), runs.c.run_id.desc())
    return list(connection.scalars(query))


def _started_at() -> ColumnElement[datetime]:
    first = select(func.min(measurements.c.started_at)).where(measurements.c.run_id == runs.c.run_id)
    rolled_up = select(night_rollups.c.began_at).where(night_rollups.c.run_id == runs.c.run_id).correlate(runs)
    return func.coalesce(runs.c.started_at, rolled_up.scalar_subquery(), first.scalar_subquery())


def _rows(table: Table) -> Select[tuple[Row]]:
    return select(func.row_to_json(table.table_valued(), type_=JSON))


_Reader = Callable[[Connection, str], list[Record]]


def _run_record(kind: str, known_by: str) -> _Reader:
    """The reader of one half of a run's row: how it began, or how it ended."""

    def read(connection: Connection, run_id: str) -> list[Record]:
        query = _rows(runs).where(runs.c.run_id == run_id, runs.c[known_by].is_not(None))
        return [record_of(kind, row) for row in connection.scalars(query)]

    return read


def _plain(kind: str, table: Table, *order: str, of_row: Callable[[Row], Record] | None = None) -> _Reader:
    """The reader of records that have a table of their own, ``order``ed by these columns before the key's."""

    def read(connection: Connection, run_id: str) -> list[Record]:
        first = (table.c[name] for name in order)
        query = _rows(table).where(table.c.run_id == run_id).order_by(*first, *table.primary_key)
        return [of_row(row) if of_row else record_of(kind, row) for row in connection.scalars(query)]

    return read


def _deployment_records(connection: Connection, run_id: str) -> list[Record]:
    known = deployments.c.started_at.is_not(None)
    starts = _rows(deployments).where(deployments.c.run_id == run_id, known)
    in_order = starts.order_by(deployments.c.started_at, deployments.c.deployment_id)
    return [record_of("deployment", row) for row in connection.scalars(in_order)]


def _kit_records(connection: Connection, run_id: str) -> list[Record]:
    query = (
        _rows(run_kits)
        .add_columns(kits.c.files)
        .join(kits, kits.c.sha256 == run_kits.c.kit_sha256)
        .where(run_kits.c.run_id == run_id)
        .order_by(run_kits.c.server)
    )
    return [record_of("kit", {**row, "files": files}) for row, files in connection.execute(query)]


def _artifact_records(connection: Connection, run_id: str) -> list[Record]:
    query = (
        _rows(run_artifacts)
        .add_columns(artifacts.c.size_bytes)
        .outerjoin(artifacts, artifacts.c.sha256 == run_artifacts.c.sha256)
        .where(run_artifacts.c.run_id == run_id)
        .order_by(*run_artifacts.primary_key)
    )
    return [record_of("artifact", {**row, "size_bytes": size}) for row, size in connection.execute(query)]


def _measurement_records(connection: Connection, run_id: str) -> list[Record]:
    series_query = _rows(telemetry).where(telemetry.c.run_id == run_id)
    series = connection.scalars(series_query.order_by(telemetry.c.cell_id, telemetry.c.ordinal))
    of_cell = {cell: list(rows) for cell, rows in groupby(series, key=itemgetter("cell_id"))}
    query = (
        select(
            func.row_to_json(measurements.table_valued(), type_=JSON),
            func.row_to_json(cases.table_valued(), type_=JSON),
        )
        .join_from(measurements, cases)
        .where(measurements.c.run_id == run_id)
        .order_by(measurements.c.started_at, measurements.c.cell_id)
    )
    return [measurement(row, case, of_cell.get(row["cell_id"], [])) for row, case in connection.execute(query)]


# In the order in which a night makes them.
_READERS: dict[type[Record], _Reader] = {
    RunStarted: _run_record("run_started", "started_at"),
    ArtifactRecord: _artifact_records,
    ParityRecord: _plain("parity", parity),
    KitRecord: _kit_records,
    DeploymentRecord: _deployment_records,
    WireParityRecord: _plain("wire_parity", wire_parity),
    CalibrationRecord: _plain("calibration", calibrations, "started_at", of_row=calibration),
    CanaryRecord: _plain("canary", canaries, "started_at", of_row=canary),
    MeasurementRecord: _measurement_records,
    MissingRecord: _plain("missing", missing_cells),
    GateRecord: _plain("gate", gate_findings),
    JudgementRecord: _plain("judgement", judgements, of_row=judgement),
    TrialRecord: _plain("trial", trials, "started_at"),
    ConfirmationRecord: _plain("confirmation", confirmations, of_row=confirmation),
    RunFinished: _run_record("run_finished", "finished_at"),
}
