"""The database that is measured: made once in a folder of its own, and kept there for the next time if asked."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.store.alerting import raise_some
from benchmarks.store.filling import Years, fill, keys_off, keys_on
from benchmarks.store.night import World, points_of_night
from db import embedded
from db.engine import open_engine
from db.migrate import migrate
from db.store import Store

__all__ = ["made"]

_QUICKLY = {
    "fsync": "off",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "512MB",
    "autovacuum": "off",
}
_MADE = "CREATE TABLE filled (nights INTEGER, series INTEGER, seconds DOUBLE PRECISION)"


def made(home: Path, years: Years, world: World, say: Callable[[str], None]) -> str:
    """The URL of the database in ``home`` with those years in it, made unless it is there."""
    url = embedded.start(home)
    migrate(url)
    engine = open_engine(url, pooled=False)
    try:
        with engine.connect() as connection:
            there = connection.scalar(text("SELECT to_regclass('filled') IS NOT NULL"))
        if not there:
            began = time.monotonic()
            with _quick(url):
                _make(engine, url, years, world, say)
            with engine.begin() as connection:
                connection.execute(text(_MADE))
                row = {"nights": years.nights, "series": years.series, "seconds": time.monotonic() - began}
                connection.execute(text("INSERT INTO filled VALUES (:nights, :series, :seconds)"), row)
    finally:
        engine.dispose()
    return url


def _make(engine: Engine, url: str, years: Years, world: World, say: Callable[[str], None]) -> None:
    records = list(world.records(years.starts[0]))
    with Store(url) as store:
        store.ingest(records)
        store.put_points(records[0].run_id, points_of_night(records))
    with engine.begin() as connection:
        keys_off(connection)
    fill(engine, years, world, say)
    say("keys")
    with engine.begin() as connection:
        keys_on(connection)
        raise_some(connection)
    say("vacuum")
    with open_engine(url, pooled=False, autocommit=True).connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


@contextmanager
def _quick(url: str) -> Iterator[None]:
    """Settings under which nothing survives a power cut, and the usual ones afterwards."""
    with open_engine(url, pooled=False, autocommit=True).connect() as connection:
        for name, value in _QUICKLY.items():
            connection.execute(text(f"ALTER SYSTEM SET {name} = '{value}'"))
        connection.execute(text("SELECT pg_reload_conf()"))
        try:
            yield
        finally:
            connection.execute(text("ALTER SYSTEM RESET ALL"))
            connection.execute(text("SELECT pg_reload_conf()"))
            connection.execute(text("CHECKPOINT"))
