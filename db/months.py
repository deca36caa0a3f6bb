"""The partitions of measurements and telemetry: one a month, by the time that a run's id begins with.

A run's id is in the natural key of both tables, so no row can come twice by falling into two months, whatever is sent
in whichever order. Ids that begin with no time share one partition beside the months.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date

from sqlalchemy import Connection, text

__all__ = ["PARTITIONED", "SCHEMA", "belongs_to", "drop_month", "make_months", "month_of", "months_from", "months_of"]

SCHEMA = "months"
PARTITIONED = ("measurements", "telemetry")
"""In the order in which they refer to each other."""

# What `tasks.session.new_run_id` makes. The year 2999 has no next month of this form.
_RUN_ID = re.compile(r"(2\d{3})(0[1-9]|1[0-2])\d\d-")
_LAST = date(2999, 11, 1)


def month_of(run_id: str) -> date | None:
    """The first day of the month whose partition holds this run's rows; ``None`` where its id says no time."""
    found = _RUN_ID.match(run_id)
    month = found and date(int(found[1]), int(found[2]), 1)
    return month if month and month <= _LAST else None


def months_from(day: date, count: int) -> Iterator[date]:
    """The month of ``day`` and those after it, ``count`` in all; those before it where ``count`` is negative."""
    first = 12 * day.year + day.month - 1
    for number in range(first, first + count) if count > 0 else range(first + count + 1, first + 1):
        yield date(number // 12, number % 12 + 1, 1)


def months_of(connection: Connection, table: str) -> list[date]:
    """The months for which ``table`` has a partition, oldest first."""
    query = text("""
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = CAST(:table AS REGCLASS) AND relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY relname
""")
    names = (str(name) for name in connection.scalars(query, {"table": table}))
    return [date(int(name[-7:-3]), int(name[-2:]), 1) for name in names]


def make_months(connection: Connection, months: Iterable[date]) -> list[date]:
    """Make the partitions of these months that are not there yet, and put what waited for them beside the months into
    them; those made. The caller has its turn (`db.turns`)."""
    wanted = sorted(set(months))
    made = []
    for month in wanted:
        known = text("SELECT to_regclass(:measurements) IS NOT NULL AND to_regclass(:telemetry) IS NOT NULL")
        if not connection.scalar(known, {table: _name(table, month) for table in PARTITIONED}):
            _make(connection, month)
            made.append(month)
    return made


def drop_month(connection: Connection, table: str, month: date) -> None:
    """Drop a month's rows with their partition. Those of telemetry go first, since they refer to the others."""
    connection.execute(text(f"DROP TABLE {_name(table, month)}"))


def belongs_to(part: str) -> str:
    """The statement that lets a partition of telemetry refer to the one of measurements that ends alike.

    The two tables as a whole would do, but not quickly: Postgres locks every partition of the table referred to for
    every row that it checks.
    """
    return (
        f"ALTER TABLE {SCHEMA}.telemetry_{part} ADD CONSTRAINT fk_telemetry_{part}_measurement"
        f" FOREIGN KEY (run_id, cell_id) REFERENCES {SCHEMA}.measurements_{part} (run_id, cell_id)"
    )


def _make(connection: Connection, month: date) -> None:
    """A table is filled before it becomes a partition: until then nobody waits for it."""
    first, after = (f"{each:%Y%m}" for each in months_from(month, 2))
    missing = [table for table in PARTITIONED if not _there(connection, table, month)]
    for table in missing:
        connection.execute(text(f"CREATE TABLE {_name(table, month)} (LIKE {table} INCLUDING ALL)"))
    for table in reversed(missing):
        _move(connection, table, month, first, after)
    for table in missing:
        bounds = f"FOR VALUES FROM ('{first}') TO ('{after}')"
        connection.execute(text(f"ALTER TABLE {table} ATTACH PARTITION {_name(table, month)} {bounds}"))
    if "telemetry" in missing:
        connection.execute(text(belongs_to(f"{month:%Y_%m}")))


def _move(connection: Connection, table: str, month: date, first: str, after: str) -> None:
    columns = connection.scalar(
        text("""
SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
WHERE attrelid = CAST(:table AS REGCLASS) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""),
        {"table": table},
    )
    moved = f"""
WITH moved AS (
    DELETE FROM {SCHEMA}.{table}_other WHERE run_id >= :first AND run_id < :after RETURNING {columns}
)
INSERT INTO {_name(table, month)} ({columns}) SELECT {columns} FROM moved
"""  # noqa: S608 - our own names and Postgres's
    connection.execute(text(moved), {"first": first, "after": after})


def _there(connection: Connection, table: str, month: date) -> bool:
    found: bool = connection.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": _name(table, month)})
    return found


def _name(table: str, month: date) -> str:
    return f"{SCHEMA}.{table}_{month:%Y_%m}"
