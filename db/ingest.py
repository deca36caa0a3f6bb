"""Writing records: each once, whatever is sent twice and in whichever order.

Natural keys make it idempotent. What was missing or failed gives way to what a resumed run measured or exported after
all: the database keeps the night's outcome, the spool file its course.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, or_, select, tuple_, update
from sqlalchemy.exc import DataError, IntegrityError

from db.judge_rows import canary_row, confirmation_row, judgement_row
from db.judge_tables import canaries, confirmations, gate_findings, judgements, kits, run_kits, trials
from db.measurement_tables import cases, measurements, telemetry
from db.months import make_months, month_of
from db.rollups import Measured, added, raw_dropped
from db.rows import Row, calibration_row, measurement_rows, row
from db.tables import artifacts, calibrations, deployments, missing_cells, parity, run_artifacts, runs, wire_parity
from db.turns import take_turn
from db.upsert import insert_all, insert_new
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

__all__ = ["Ingested", "Refusal", "ingest"]

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record the tables' constraints do not admit. It stays in the spool."""

    record: str
    """Its kind and natural key."""
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of the records given: ``new + known + len(refused)`` is their number."""

    new: int
    known: int
    """Those that say nothing new: already there, or a gap that is filled by now."""
    refused: tuple[Refusal, ...] = ()


def ingest(connection: Connection, records: Iterable[Record]) -> Ingested:
    """Write records in the order their tables need, inside the connection's transaction."""
    take_turn(connection)
    given = list(records)
    new = 0
    refused: list[Refusal] = []
    for kind, write in _WRITERS.items():
        of_kind = [record for record in given if isinstance(record, kind)]
        for first in range(0, len(of_kind), _BATCH):
            new += _write(connection, write, of_kind[first : first + _BATCH], refused)
    return Ingested(new, len(given) - new - len(refused), tuple(refused))


def _write(connection: Connection, write: "_Writer", batch: Sequence[Any], refused: list[Refusal]) -> int:
    """Write a batch; if a record in it is not admitted, find it by halving, so that it costs itself alone."""
    try:
        with connection.begin_nested():
            return write(connection, batch)
    except (IntegrityError, DataError, ValueError) as error:
        if len(batch) == 1:
            refused.append(Refusal(_name(batch[0]), str(getattr(error, "orig", error)).splitlines()[0]))
            return 0
    middle = len(batch) // 2
    return sum(_write(connection, write, half, refused) for half in (batch[:middle], batch[middle:]))


def _ensure_runs(connection: Connection, records: Sequence[Any]) -> None:
    """A run whose own record was lost keeps what names it."""
    insert_new(connection, runs, [{"run_id": record.run_id} for record in records])


def _ensure_artifacts(connection: Connection, rows: Iterable[Row]) -> None:
    insert_new(connection, artifacts, [{"sha256": row["artifact_sha256"], "format": row["format"]} for row in rows])


def _ensure_deployments(connection: Connection, records: Sequence[Any]) -> None:
    rows = [{"run_id": record.run_id, "deployment_id": record.deployment_id} for record in records]
    insert_new(connection, deployments, rows)


def _run_started(connection: Connection, records: Sequence[RunStarted]) -> int:
    return len(insert_new(connection, runs, [row(record) for record in records], fill="started_at"))


def _artifact(connection: Connection, records: Sequence[ArtifactRecord]) -> int:
    _ensure_runs(connection, records)
    rows = [row(record) for record in records]
    sizes = [fields.pop("size_bytes") for fields in rows]
    files = [
        {"sha256": fields["sha256"], "format": fields["format"], "size_bytes": size}
        for fields, size in zip(rows, sizes, strict=True)
        if fields["sha256"] is not None
    ]
    insert_new(connection, artifacts, files, fill="size_bytes")
    return len(insert_new(connection, run_artifacts, rows, fill="sha256"))


def _parity(connection: Connection, records: Sequence[ParityRecord]) -> int:
    _ensure_runs(connection, records)
    rows = [row(record) for record in records]
    _ensure_artifacts(connection, rows)
    return len(insert_new(connection, parity, rows))


def _deployment(connection: Connection, records: Sequence[DeploymentRecord]) -> int:
    _ensure_runs(connection, records)
    return len(insert_new(connection, deployments, [row(record) for record in records], fill="started_at"))


def _wire_parity(connection: Connection, records: Sequence[WireParityRecord]) -> int:
    _ensure_runs(connection, records)
    _ensure_deployments(connection, records)
    rows = [row(record) for record in records]
    _ensure_artifacts(connection, rows)
    return len(insert_new(connection, wire_parity, rows))


def _kit(connection: Connection, records: Sequence[KitRecord]) -> int:
    _ensure_runs(connection, records)
    rows = [row(record) for record in records]
    files = [{"sha256": fields["kit_sha256"], "files": fields.pop("files")} for fields in rows]
    insert_new(connection, kits, files)
    return len(insert_new(connection, run_kits, rows))


def _of_a_run(table: Table, to_row: Callable[[Any], Row]) -> "_Writer":
    """The writer of records that refer to nothing but their run."""

    def write(connection: Connection, records: Sequence[Any]) -> int:
        _ensure_runs(connection, records)
        return len(insert_new(connection, table, [to_row(record) for record in records]))

    return write


def _not_dropped(connection: Connection, records: Sequence[Any]) -> list[Any]:
    """What was dropped by age is known, and does not come back from an old spool."""
    gone = raw_dropped(connection, {record.run_id for record in records})
    return [record for record in records if record.run_id not in gone]


def _measurement(connection: Connection, given: Sequence[MeasurementRecord]) -> int:
    records: list[MeasurementRecord] = _not_dropped(connection, given)
    _ensure_runs(connection, records)
    _ensure_deployments(connection, records)
    make_months(connection, {month for record in records if (month := month_of(record.run_id))})
    taken_apart = [measurement_rows(record) for record in records]
    of_cases = [case for _, case, _ in taken_apart]
    _ensure_artifacts(connection, of_cases)
    insert_new(connection, cases, of_cases)
    new = insert_new(connection, measurements, [fields for fields, _, _ in taken_apart])
    # A repeated cell must not mix its telemetry into the first one's.
    wanted = set(new)
    of_telemetry: list[Row] = []
    measured = []
    for record, (fields, case, series) in zip(records, taken_apart, strict=True):
        key = (fields["run_id"], fields["cell_id"])
        if key in wanted:
            wanted.remove(key)
            of_telemetry += series
            measured.append(Measured(case["fingerprint"], *key, record.started_at))
    # It refers to measurements that were not there a moment ago.
    insert_all(connection, telemetry, of_telemetry)
    added(connection, measured)
    filled = [(fields["run_id"], fields["cell_id"]) for fields, _, _ in taken_apart]
    connection.execute(delete(missing_cells).where(tuple_(missing_cells.c.run_id, missing_cells.c.cell_id).in_(filled)))
    return len(new)


def _missing(connection: Connection, records: Sequence[MissingRecord]) -> int:
    """A cell that is measured as well, whichever came first, is no longer missing."""
    _ensure_runs(connection, records)
    rows = [row(record) for record in _not_dropped(connection, records)]
    key = measurements.c.run_id, measurements.c.cell_id
    cells = [(fields["run_id"], fields["cell_id"]) for fields in rows]
    measured = {tuple(cell) for cell in connection.execute(select(*key).where(tuple_(*key).in_(cells)))}
    gaps = [fields for fields, cell in zip(rows, cells, strict=True) if cell not in measured]
    return len(insert_new(connection, missing_cells, gaps))


def _run_finished(connection: Connection, records: Sequence[RunFinished]) -> int:
    """A run that was resumed ends more than once: that it completed counts, also where a clock that was set back makes
    it the earlier end; else the latest does."""
    _ensure_runs(connection, records)
    new = 0
    for record in records:
        end = {**row(record), "finished_at": record.finished_at}
        completed = record.status == "completed"
        was_completed = runs.c.status == "completed"
        later = or_(
            runs.c.finished_at.is_(None),
            *([~was_completed] if completed else []),
            and_(was_completed if completed else ~was_completed, runs.c.finished_at < record.finished_at),
        )
        new += connection.execute(update(runs).where(runs.c.run_id == end.pop("run_id"), later).values(end)).rowcount
    return new


_Writer = Callable[[Connection, Sequence[Any]], int]
# In the order in which rows refer to each other.
_WRITERS: dict[type[Any], _Writer] = {
    RunStarted: _run_started,
    ArtifactRecord: _artifact,
    ParityRecord: _parity,
    DeploymentRecord: _deployment,
    WireParityRecord: _wire_parity,
    KitRecord: _kit,
    CalibrationRecord: _of_a_run(calibrations, calibration_row),
    CanaryRecord: _of_a_run(canaries, canary_row),
    MeasurementRecord: _measurement,
    MissingRecord: _missing,
    GateRecord: _of_a_run(gate_findings, row),
    JudgementRecord: _of_a_run(judgements, judgement_row),
    TrialRecord: _of_a_run(trials, row),
    ConfirmationRecord: _of_a_run(confirmations, confirmation_row),
    RunFinished: _run_finished,
}


def _name(record: Record) -> str:
    names = ("run_id", "cell_id", "deployment_id", "confirmation_id", "fingerprint", "model", "format", "server")
    key = (getattr(record, name, None) for name in names)
    return " ".join([record.kind, *(str(part) for part in key if part is not None)])
