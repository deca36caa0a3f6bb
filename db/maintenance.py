"""What the database needs every day: partitions for the months to come, roll-ups, and what is too old dropped."""

from datetime import datetime, timedelta

from sqlalchemy import text

from db.database import Database
from db.months import PARTITIONED, make_months, months_from
from db.retention import Keep, retire
from db.rollups import roll_up

__all__ = ["maintain"]

_AHEAD = 3
"""This month and the next two. A night that finds no partition makes its own, but has to wait for all readers."""
_AT_ONCE = 20
# A run that was killed never ends. Two days later nobody resumes it any more.
_GIVEN_UP = timedelta(days=2)
_NOT_ROLLED_UP = text("""
SELECT runs.run_id FROM runs
WHERE (runs.status IS NOT NULL OR runs.started_at < :before)
    AND NOT EXISTS (SELECT FROM night_rollups WHERE night_rollups.run_id = runs.run_id)
ORDER BY runs.started_at
""")
_VACUUMED = (
    *("runs", "run_artifacts", "deployments", "cases", "missing_cells", "parity", "wire_parity", "canaries"),
    *("judgements", "series_points", "series_baselines", "change_points", "alerts", "alert_nights", "alert_events"),
    *("night_rollups", "night_series", "night_servers", "night_doubts", "latest_cells"),
)
_JOINED_BY = "(run_id, cell_id)"


def maintain(store: Database, now: datetime, keep: Keep | None = None) -> list[str]:
    """Do all of it; what was done, a line each. Safe at any time and from several machines at once.

    Each step is a transaction: stopped half-way, the rest is done the next time. Raises `db.errors.DatabaseDown`.
    """
    done = []
    with store.alone() as connection:
        made = make_months(connection, months_from(now.date(), _AHEAD))
    done += [f"partition for {month:%Y-%m} made" for month in made]
    with store.alone() as connection:
        waiting = list(connection.scalars(_NOT_ROLLED_UP, {"before": now - _GIVEN_UP}))
    for first in range(0, len(waiting), _AT_ONCE):
        with store.alone() as connection:
            roll_up(connection, waiting[first : first + _AT_ONCE])
    if waiting:
        done.append(f"{len(waiting)} nights rolled up")
    done += retire(store, now, keep or Keep())
    _vacuum(store)
    return [*done, "vacuumed and analyzed"]


def _vacuum(store: Database) -> None:
    """Postgres sees to its tables by itself, but never learns what is in a partitioned one as a whole."""
    with store.statements() as connection:
        connection.execute(text(f"VACUUM (ANALYZE, SKIP_LOCKED) {', '.join(_VACUUMED)}"))
        for table in PARTITIONED:
            connection.execute(text(f"ANALYZE {table} {_JOINED_BY}"))
