"""Does the store hold five years of nights? `python -m benchmarks.store` prints what it takes.

2,000 series are measured every night for five years, each once a night: 3.6 million measurements, made up and shaped
like real ones, in the embedded Postgres as it comes, which uses one processor a query. Then every query of every
dashboard is asked as a reader's browser asks it, nights are ingested on top, and history is read as the judge reads it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from benchmarks import machine
from benchmarks.store.filling import Years
from benchmarks.store.making import made
from benchmarks.store.night import World, points_of_night, run_id_of
from benchmarks.store.plans import worst_node
from benchmarks.store.queries import asked, dashboards, rows_of, window_of
from dashboards.grafana.expand import Window
from db import embedded
from db.engine import open_engine
from db.maintenance import maintain
from db.store import Store
from nightbench.record import MeasurementRecord
from tests.dashboards.grafana_frames import frames_of
from tests.dashboards.grafana_shape import misfits

_FULL = Years(nights=1828, series=2_000, telemetry_nights=60)
_QUICK = Years(nights=120, series=200, telemetry_nights=30)
_QUERY_MS, _INGEST_A_S, _HISTORY_S = 200.0, 2_000.0, 1.0
_JUDGED_NIGHTS = 74
_GIVE_UP = "5s"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="120 nights of 200 series: half a minute, proves no bar")
    parser.add_argument("--home", type=Path, help="keep the database in this folder, or use the one that is there")
    parser.add_argument("--rounds", type=int, default=20, help="how often each dashboard is opened (default: 20)")
    given = parser.parse_args()
    years = _QUICK if given.quick else _FULL
    for line in machine.describe(machine.Cpus(None, None)):
        print(line)
    home = given.home or Path(tempfile.mkdtemp(prefix="nightbench-store-"))
    # Postgres runs as a user of its own under root.
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    try:
        began = time.monotonic()
        url = made(home, years, World.of(years.series), lambda what: print(f"{_since(began)} {what}", flush=True))
        for part in (_sizes, _asking, _ingesting, _reading, _maintaining):
            print()
            for line in part(url, home, years, given.rounds):
                print(line, flush=True)
    finally:
        embedded.stop(home)
        if given.home is None:
            shutil.rmtree(home)
    print(f"\nload average at the end {machine.load_average()}")
    return 0


def _sizes(url: str, home: Path, years: Years, rounds: int) -> Iterator[str]:
    with open_engine(url, pooled=False).connect() as connection:
        took = connection.scalar(text("SELECT seconds FROM filled"))
        yield f"{years.nights} nights of {years.series} series, filled in {took:.0f} s"
        yield "table                    rows      size      of that indexes"
        for table in ("measurements", "telemetry", "series_points", "judgements", "night_series", "deployments"):
            row = connection.execute(text(_SIZE), {"table": table}).one()
            yield f"{table:<16} {row.rows:>12,} {row.whole / 2**20:>7,.0f} MiB {row.indexes / 2**20:>7,.0f} MiB"
        whole = connection.scalar(text("SELECT pg_database_size(current_database())"))
        yield f"the whole database {whole / 2**30:.1f} GiB"


_SIZE = """
WITH parts AS (SELECT relid FROM pg_partition_tree(CAST(:table AS REGCLASS)) WHERE isleaf)
SELECT sum(greatest(pg_class.reltuples, 0))::BIGINT AS rows, sum(pg_total_relation_size(relid))::BIGINT AS whole,
    sum(pg_indexes_size(relid))::BIGINT AS indexes
FROM (SELECT relid FROM parts UNION SELECT CAST(:table AS REGCLASS) WHERE NOT EXISTS (SELECT FROM parts)) AS leaves
JOIN pg_class ON pg_class.oid = relid
"""


def _asking(url: str, home: Path, years: Years, rounds: int) -> Iterator[str]:
    """Each dashboard as it opens, and once more over all the years."""
    end = years.last + timedelta(hours=9)
    everything = Window(years.starts[0] - timedelta(days=1), end, interval_s=86_400)
    rng = np.random.default_rng(3)
    yield f"of {rounds} openings: p95, ms; mean processor time of the database, ms; rows; query, worst node of its plan"
    late = count = 0
    with open_engine(url, pooled=False).connect() as connection:
        connection.execute(text(f"SET statement_timeout = '{_GIVE_UP}'"))
        connection.execute(text("SET default_transaction_read_only = on"))
        connection.commit()
        for dashboard in dashboards():
            own = window_of(dashboard, end)
            for window, times, of in ((own, rounds, "its own range"), (everything, 3, "all years")):
                yield f"-- {dashboard}, {of}"
                for name, took, cpu_ms, rows, node in _opened(connection, dashboard, window, times, rng):
                    p95 = float(np.percentile(took, 95))
                    late, count = late + (p95 > _QUERY_MS), count + 1
                    mark = " " if p95 <= _QUERY_MS else "!"
                    yield f"{p95:>9.1f} {mark} {cpu_ms:>7.1f} {rows:>8,}    {name}: {node}"
        yield f"{count - late} of {count} within {_QUERY_MS:.0f} ms"
        drawable, wrong = 0, []
        for dashboard in dashboards():
            for window in (window_of(dashboard, end), everything):
                for panel, found in _drawn(connection, dashboard, window, rng):
                    drawable += not found
                    wrong += [f"!    {dashboard}: {panel}: {words}" for words in found]
        yield from wrong
        whole = drawable + len(wrong)
        yield f"{drawable} of {whole} panels get rows that their type draws, in their own range and over all years"


def _drawn(
    connection: Connection, dashboard: str, window: Window, rng: np.random.Generator
) -> Iterator[tuple[str, list[str]]]:
    """Each panel once, and what is wrong with what it gets."""
    for each in asked(connection, dashboard, window, rng):
        if each.panel is not None:
            # A panel that is repeated shows one of what was chosen.
            repeated = {
                name: values[:1] for name, values in each.values.items() if name == each.panel.json.get("repeat")
            }
            try:
                frames = frames_of(connection, each.panel, window, {**each.values, **repeated})
                yield each.panel.title, misfits(each.panel, frames)
            except OperationalError:
                yield each.panel.title, [f"took longer than {_GIVE_UP}"]
            connection.rollback()


def _opened(
    connection: Connection, dashboard: str, window: Window, times: int, rng: np.random.Generator
) -> Iterator[tuple[str, list[float], float, int, str]]:
    backend = psutil.Process(connection.scalar(text("SELECT pg_backend_pid()")))
    took: dict[str, list[float]] = {}
    cpu: dict[str, float] = {}
    slowest: dict[str, tuple[float, str, int]] = {}
    for _ in range(times):
        for each in asked(connection, dashboard, window, rng):
            began, used = time.perf_counter(), _cpu_ms(backend)
            try:
                rows = len(rows_of(connection, each.sql))
            except OperationalError:
                rows = -1
            connection.rollback()
            ms = (time.perf_counter() - began) * 1e3
            took.setdefault(each.name, []).append(ms)
            cpu[each.name] = cpu.get(each.name, 0.0) + _cpu_ms(backend) - used
            slowest[each.name] = max(slowest.get(each.name, (0.0, "", 0)), (ms, each.sql, rows))
    for name, times_ms in took.items():
        _, sql, rows = slowest[name]
        yield name, times_ms, cpu[name] / len(times_ms), rows, "given up" if rows < 0 else _explained(connection, sql)
        connection.rollback()


def _explained(connection: Connection, sql: str) -> str:
    try:
        return worst_node(connection, sql)
    except OperationalError:
        return "given up while it was explained"


def _cpu_ms(backend: psutil.Process) -> float:
    """In steps of 10 ms, which a sum over openings evens out."""
    times = backend.cpu_times()
    return float(times.user + times.system) * 1e3


def _ingesting(url: str, home: Path, years: Years, rounds: int) -> Iterator[str]:
    """New nights on top of all that is there, through the very function that stores a real one."""
    world = World.of(years.series)
    with Store(url) as store:
        rates, used = [], []
        for day in range(1, 6):
            records = list(world.records(datetime(2026, 11, 20, 3, tzinfo=UTC) + timedelta(days=day), seed=day))
            timed = sum(isinstance(record, MeasurementRecord) for record in records)
            began, cpu_s = time.perf_counter(), _all_cpu_s(url)
            done = store.ingest(records)
            rates.append(timed / (time.perf_counter() - began))
            used.append((_all_cpu_s(url) - cpu_s) / timed)
            if done.known or done.refused:
                yield f"{done.known} known, {done.refused[:1]} refused: was it ingested before?"
        yield (
            f"ingest of a night of {timed:,} measurements with all that belongs to it: median {np.median(rates):,.0f}"
            f" measurements/s, {min(rates):,.0f} at the least {_held(float(np.median(rates)) >= _INGEST_A_S)}"
        )
        yield f"processor time of client and database for one measurement: {1e3 * float(np.median(used)):.2f} ms"
        took = _timed(lambda: store.put_points(records[0].run_id, points_of_night(records)))
        yield f"its points put and the night rolled up: {took:.2f} s"
        again = _timed(lambda: store.ingest(records))
        yield f"the same night once more, of which nothing is new: {timed / again:,.0f} measurements/s"


def _all_cpu_s(url: str) -> float:
    """Ours and that of all backends, which stay for as long as the store is open."""
    with open_engine(url, pooled=False).connect() as connection:
        pids = connection.scalars(text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")).all()
    parts = [psutil.Process(pid).cpu_times() for pid in pids if psutil.pid_exists(pid)]
    return time.process_time() + sum(part.user + part.system for part in parts)


def _reading(url: str, home: Path, years: Years, rounds: int) -> Iterator[str]:
    newest = run_id_of(years.last)
    with Store(url) as store:
        took = min(_timed(lambda: store.series_of(newest, _JUDGED_NIGHTS)) for _ in range(3))
        yield f"what the judge reads, {_JUDGED_NIGHTS} nights of every series: {took:.2f} s"
        took = min(_timed(lambda: store.history(20)) for _ in range(3))
        yield f"the last 20 nights from the store: {took * 1e3:.0f} ms"
        took = min(_timed(lambda: store.records(newest)) for _ in range(3))
        yield f"a whole night read back as records: {took:.2f} s"
    program = Path(sys.executable).with_name("nightbench")
    env = {**os.environ, "NIGHTBENCH_HOME": str(home)}
    env.pop("NIGHTBENCH_DATABASE_URL", None)
    runs = [
        _timed(lambda: subprocess.run([program, "history"], env=env, check=True, capture_output=True)) for _ in range(5)
    ]
    median = float(np.median(runs))
    yield f"`nightbench history`, Python's start included: median {median:.2f} s {_held(median <= _HISTORY_S)}"


def _maintaining(url: str, home: Path, years: Years, rounds: int) -> Iterator[str]:
    with Store(url) as store:
        began = time.perf_counter()
        lines = maintain(store, years.last)
        yield f"maintenance: {time.perf_counter() - began:.1f} s ({'; '.join(lines)})"


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _held(yes: object) -> str:
    return "(bar held)" if yes else "(bar MISSED)"


def _since(began: float) -> str:
    return f"{time.monotonic() - began:6.0f} s"


if __name__ == "__main__":
    sys.exit(main())
