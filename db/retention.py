"""What is dropped by age: telemetry first, then measurements, of which roll-ups stay. Everything else is kept.

Whole months go at once, with their partitions. Of a night whose measurements are gone there are still its run, its
deployments, missing cells and parity, its counts, the figures of its cells (``night_series``) and of its judged series
(``series_points``) and what was said of them: whatever a trend, a verdict or a baseline is made of.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, delete, text, update

from db.database import Database
from db.months import SCHEMA, drop_month, months_from, months_of
from db.rollup_tables import latest_cells, night_rollups
from db.rollups import roll_up

__all__ = ["Keep", "retire"]


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many days rows stay; ``None`` is for ever."""

    telemetry_days: int | None = 180
    measurements_days: int | None = 1830


def retire(store: Database, now: datetime, keep: Keep) -> list[str]:
    """Drop what is older than that; what was dropped, a line each. A month goes when its last day is old enough."""
    done = []
    for table, drop, days in (
        ("telemetry", _drop_telemetry, keep.telemetry_days),
        ("measurements", _drop_measurements, keep.measurements_days),
    ):
        if days is None:
            continue
        before = now - timedelta(days=days)
        with store.alone() as connection:
            old = [month for month in months_of(connection, table) if _after(month) <= before.date()]
        for month in old:
            with store.alone() as connection:
                drop(connection, month)
            done.append(f"{table} of {month:%Y-%m} dropped: older than {days} days")
        with store.alone() as connection:
            count = _drop_undated(connection, table, before)
        if count:
            done.append(f"{table} of {count} runs without a time in their ids dropped: older than {days} days")
    return done


def _drop_telemetry(connection: Connection, month: date) -> None:
    if month in months_of(connection, "telemetry"):
        drop_month(connection, "telemetry", month)


def _drop_measurements(connection: Connection, month: date) -> None:
    if month not in months_of(connection, "measurements"):
        return
    partition = f"{SCHEMA}.measurements_{month:%Y_%m}"
    runs = text(f"SELECT DISTINCT run_id FROM {partition}")  # noqa: S608 - named after a date
    _keep_rolled_up(connection, list(connection.scalars(runs)))
    _drop_telemetry(connection, month)
    drop_month(connection, "measurements", month)


def _drop_undated(connection: Connection, table: str, before: datetime) -> int:
    """Rows beside the months, of runs that began before then; how many runs."""
    old = text(f"""
SELECT run_id FROM runs
WHERE started_at < :before AND EXISTS (SELECT FROM {SCHEMA}.{table}_other AS rows WHERE rows.run_id = runs.run_id)
""")  # noqa: S608 - our own names
    runs = list(connection.scalars(old, {"before": before}))
    if runs and table == "measurements":
        _keep_rolled_up(connection, runs)
    for each in ("telemetry", table):
        gone = text(f"DELETE FROM {SCHEMA}.{each}_other WHERE run_id = ANY(:runs)")  # noqa: S608 - our own names
        connection.execute(gone, {"runs": runs})
    return len(runs)


def _keep_rolled_up(connection: Connection, runs: list[str]) -> None:
    roll_up(connection, runs)
    connection.execute(update(night_rollups).where(night_rollups.c.run_id.in_(runs)).values(raw_dropped=True))
    connection.execute(delete(latest_cells).where(latest_cells.c.run_id.in_(runs)))


def _after(month: date) -> date:
    """The first day of the next one."""
    return list(months_from(month, 2))[1]
