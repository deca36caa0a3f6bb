"""What is kept of a night beside its measurements: counts and sums, its cells' medians, and where the newest are."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from db.latency_rollup import roll_up_latency
from db.rollup_tables import latest_cells, night_doubts, night_rollups, night_series
from db.turns import take_turn
from db.upsert import json_rows

__all__ = ["Measured", "added", "raw_dropped", "roll_up"]


class Measured(NamedTuple):
    """One timed cell, as far as it matters which one is newest."""

    fingerprint: str
    run_id: str
    cell_id: str
    started_at: datetime


_COLUMNS = ", ".join(night_series.c.keys())
# Of nights that are rolled up already, the view has no rows.
_ROLL_UP = text(f"""
WITH nights AS (
    INSERT INTO night_rollups (run_id, began_at, measured, doubted)
    SELECT runs.run_id, min(measurements.started_at), count(measurements.run_id),
        count(*) FILTER (WHERE measurements.doubted)
    FROM runs LEFT JOIN measurements ON measurements.run_id = runs.run_id
    WHERE runs.run_id = ANY(CAST(:runs AS TEXT[]))
    GROUP BY runs.run_id
    ON CONFLICT (run_id) DO NOTHING
), series AS (
    INSERT INTO night_series ({_COLUMNS})
    SELECT {_COLUMNS} FROM unrolled_series WHERE run_id = ANY(CAST(:runs AS TEXT[]))
    RETURNING run_id, fingerprint, ok_count, failed_count
)
INSERT INTO night_servers (run_id, server, ok_count, failed_count)
SELECT series.run_id, cases.server, sum(series.ok_count), sum(series.failed_count)
FROM series JOIN cases ON cases.fingerprint = series.fingerprint
GROUP BY series.run_id, cases.server
""")  # noqa: S608 - of names in this room
_DOUBTS = text("""
INSERT INTO night_doubts (run_id, suite, server, reason, series)
SELECT points.run_id, points.suite, cases.server, doubt.reason, count(DISTINCT points.fingerprint)
FROM series_points AS points
JOIN cases ON cases.fingerprint = points.fingerprint
CROSS JOIN LATERAL unnest(points.doubts) AS doubt (reason)
WHERE points.run_id = ANY(CAST(:runs AS TEXT[])) AND points.doubts <> '{}'
GROUP BY points.run_id, points.suite, cases.server, doubt.reason
""")


def roll_up(connection: Connection, runs: Sequence[str]) -> None:
    """Roll these nights up, as far as they are not; their doubts anew, since points are put in place of others."""
    take_turn(connection)
    connection.execute(_ROLL_UP, {"runs": list(runs)})
    connection.execute(delete(night_doubts).where(night_doubts.c.run_id.in_(runs)))
    connection.execute(_DOUBTS, {"runs": list(runs)})
    roll_up_latency(connection, runs)


def added(connection: Connection, measured: Iterable[Measured]) -> None:
    """Take note of measurements just inserted."""
    newest: dict[str, Measured] = {}
    runs = set()
    for each in sorted(measured, key=lambda one: (one.started_at, one.run_id, one.cell_id)):
        newest[each.fingerprint] = each
        runs.add(each.run_id)
    if not newest:
        return
    connection.execute(delete(night_rollups).where(night_rollups.c.run_id.in_(runs)))
    rows = [{**each._asdict(), "started_at": each.started_at.isoformat()} for each in newest.values()]
    statement = insert(latest_cells).from_select(Measured._fields, json_rows(latest_cells, Measured._fields, rows))
    given = statement.excluded
    order = ("started_at", "run_id", "cell_id")
    newer = tuple_(*(given[name] for name in order)) > tuple_(*(latest_cells.c[name] for name in order))
    replaced = {name: given[name] for name in order}
    connection.execute(statement.on_conflict_do_update(index_elements=["fingerprint"], set_=replaced, where=newer))


def raw_dropped(connection: Connection, runs: Collection[str]) -> set[str]:
    """Those of these runs whose measurements were dropped by age: they are not to come back from an old spool."""
    gone = select(night_rollups.c.run_id).where(night_rollups.c.run_id.in_(runs), night_rollups.c.raw_dropped)
    return set(connection.scalars(gone))
