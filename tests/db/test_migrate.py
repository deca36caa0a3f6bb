"""The steps lead to exactly the tables the code knows, whoever runs them and however often."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, text

import db.access_tables  # the test looks at all tables, also those that no store here knows
import db.migrations
from db.engine import open_engine
from db.maintenance import maintain
from db.measurement_tables import cases, measurements, telemetry
from db.migrate import migrate, newest_step
from db.rows import Row, measurement_rows, row
from db.store import Store
from db.tables import artifacts, deployments, missing_cells, runs
from db.upsert import insert_new
from nightbench.errors import UsageError
from nightbench.figures import Doubt, Reason
from nightbench.load import Goal, OpenLoop, Search
from nightbench.record import DeploymentRecord, MeasurementRecord, MissingRecord, Record, RunStarted

DOUBT = Doubt(Reason.FOREIGN_LOAD, "30 %")

# Alembic compares neither checks nor generated columns, so the catalogue is asked.
_CATALOGUE = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
UNION SELECT tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION SELECT c.table_name, c.column_name, concat(c.data_type, c.is_nullable, c.generation_expression)
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name <> 'alembic_version'
"""


def _catalogue(url: str) -> set[tuple[str, ...]]:
    with open_engine(url, pooled=False).connect() as connection:
        return {tuple(row) for row in connection.execute(text(_CATALOGUE))}


def test_steps_and_tables_agree(url: str, new_database: Callable[..., str]) -> None:
    with open_engine(url, pooled=False).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), measurements.metadata) == []
    direct = new_database()
    with open_engine(direct, pooled=False).begin() as connection:
        measurements.metadata.create_all(connection)
    assert _catalogue(url) == _catalogue(direct)


def _upgrade(url: str, step: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__file__).parent))
    with open_engine(url, pooled=False).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, step)


def _insert(connection: Connection, table: Table, row: Row) -> None:
    """What the row holds for the columns that the table has by now."""
    query = text("SELECT column_name FROM information_schema.columns WHERE table_name = :table")
    there = set(connection.scalars(query, {"table": table.name}))
    insert_new(connection, table, [{name: value for name, value in row.items() if name in there}])


def _stored_at(url: str, step: str, records: list[Record]) -> None:
    """Nights of measurements, as they lay in the tables of that step."""
    _upgrade(url, step)
    tables = {"run_started": runs, "deployment": deployments, "missing": missing_cells}
    with open_engine(url, pooled=False).begin() as connection:
        for record in records:
            if isinstance(record, MeasurementRecord):
                fields, case, series = measurement_rows(record)
                _insert(connection, artifacts, {"sha256": case["artifact_sha256"], "format": case["format"]})
                _insert(connection, cases, case)
                _insert(connection, measurements, fields)
                for each in series:
                    _insert(connection, telemetry, each)
            elif record.kind in tables:
                _insert(connection, tables[record.kind], row(record))


def test_a_night_stored_before_there_were_searches_is_still_the_same_night(
    new_database: Callable[..., str], night: Callable[..., list[Record]]
) -> None:
    url = new_database()
    kept: list[Record] = [record for record in night() if isinstance(record, RunStarted | DeploymentRecord)]
    timed = [record for record in night() if isinstance(record, MeasurementRecord)]
    gone = [record for record in night() if isinstance(record, MissingRecord)]
    opened = replace(timed[1], case=replace(timed[1].case, load=OpenLoop(20.0)), doubts=(DOUBT,))
    kept += [timed[0], opened, *gone]
    _stored_at(url, "r0002", kept)
    migrate(url)
    with Store(url) as store:
        back = store.records("night-1")
        assert len(back) == len(kept)
        assert all(record in back for record in kept)
        assert store.ingest(kept).known == len(kept)
        searched = replace(timed[0], cell_id="s", case=replace(timed[0].case, load=Search(Goal.PEAK)))
        assert store.ingest([searched]).new == 1
        assert store.history()[0].doubted == 1
    with open_engine(url, pooled=False).connect() as connection:
        found = connection.execute(text("SELECT cell_id, load_kind, ended_by FROM latest_measurements ORDER BY 1"))
        assert [tuple(each) for each in found] == [
            ("c0", "closed", "duration"),
            ("c1", "open", "duration"),
            ("s", "search", "duration"),
        ]


def test_nights_stored_before_there_were_months_come_into_their_own(
    new_database: Callable[..., str], night: Callable[..., list[Record]]
) -> None:
    url = new_database()
    names = ["20251231-233000-smoke-ab12", "20261119-023000-smoke-cd34", "by-hand"]
    kept = [
        replace(record, doubts=(DOUBT,)) if isinstance(record, MeasurementRecord) and record.cell_id == "c1" else record
        for name in names
        for record in night(name)
        if isinstance(record, RunStarted | DeploymentRecord | MeasurementRecord | MissingRecord)
    ]
    _stored_at(url, "r0007", kept)
    migrate(url)
    with open_engine(url, pooled=False).connect() as connection:
        for table in ("measurements", "telemetry"):
            where = f"SELECT DISTINCT run_id, tableoid::regclass::text FROM {table} ORDER BY 1"  # noqa: S608 - of the two
            lies = connection.execute(text(where))
            places = [f"months.{table}_{place}" for place in ("2025_12", "2026_11", "other")]
            assert [tuple(each) for each in lies] == list(zip(names, places, strict=True))
        latest = connection.execute(text("SELECT cell_id, run_id FROM latest_measurements ORDER BY 1"))
        assert [tuple(each) for each in latest] == [("c0", "by-hand"), ("c1", "by-hand")]
        nights = connection.execute(text("SELECT sum(rounds), sum(doubted_rounds), count(*) FROM series_nights"))
        assert [tuple(each) for each in nights] == [(6, 3, 6)]
    with Store(url) as store:
        assert [record for name in names for record in store.records(name, MeasurementRecord)] == [
            record for record in kept if isinstance(record, MeasurementRecord)
        ]
        again = store.ingest(kept)
        assert (again.new, again.known, again.refused) == (0, len(kept), ())
        assert {each.run_id: (each.measured, each.doubted) for each in store.history()} == dict.fromkeys(names, (2, 1))
        maintain(store, datetime(2026, 11, 20, tzinfo=UTC))
        assert {each.run_id: (each.measured, each.doubted) for each in store.history()} == dict.fromkeys(names, (2, 1))


def test_a_night_rolled_up_before_doubts_counted_figure_by_figure_is_rolled_up_anew(
    new_database: Callable[..., str], night: Callable[..., list[Record]]
) -> None:
    url = new_database()
    doubt = Doubt(Reason.BIMODAL, "two modes", ("p50",))
    kept = [
        replace(record, doubts=(doubt,)) if isinstance(record, MeasurementRecord) else record
        for record in night()
        if isinstance(record, RunStarted | DeploymentRecord | MeasurementRecord)
    ]
    _stored_at(url, "r0010", kept)
    columns = "fingerprint, run_id, rounds, doubted_rounds, ok_count, failed_count, latency_p50_ns"
    with open_engine(url, pooled=False).begin() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM unrolled_series")).mappings().all()  # noqa: S608 - ours
        assert all(row["latency_p50_ns"] for row in rows)
        connection.execute(text("INSERT INTO night_rollups VALUES ('night-1', NULL, 2, 0)"))
        names = ", ".join(f":{name}" for name in columns.split(", "))
        values = [dict(row) for row in rows]
        connection.execute(text(f"INSERT INTO night_series ({columns}) VALUES ({names})"), values)  # noqa: S608 - ours
    migrate(url)
    with Store(url) as store:
        assert _shown(url, "SELECT latency_p50_ns FROM series_nights") == [None, None]
        maintain(store, datetime(2026, 11, 30, tzinfo=UTC))
    assert _shown(url, "SELECT run_id FROM night_rollups") == ["night-1"]
    assert _shown(url, "SELECT latency_p50_ns FROM series_nights") == [None, None]


def test_nights_rolled_up_before_there_were_sums_get_theirs_even_without_their_measurements(
    new_database: Callable[..., str], night: Callable[..., list[Record]]
) -> None:
    url = new_database()
    names = ["night-1", "night-2", "night-3"]
    kept = [
        record
        for name in names
        for record in night(name)
        if isinstance(record, RunStarted | DeploymentRecord | MeasurementRecord)
    ]
    _stored_at(url, "r0011", kept)
    columns = "fingerprint, run_id, rounds, doubted_rounds, ok_count, failed_count"
    with open_engine(url, pooled=False).begin() as connection:
        for statement in (
            "CREATE TABLE rolled AS SELECT * FROM unrolled_series WHERE run_id < 'night-3'",
            "INSERT INTO night_rollups VALUES ('night-1', NULL, 2, 0, true), ('night-2', NULL, 2, 0, false)",
            f"INSERT INTO night_series ({columns}) SELECT {columns} FROM rolled",  # noqa: S608 - ours
            "DROP TABLE rolled",
            "DELETE FROM telemetry WHERE run_id = 'night-1'",
            "DELETE FROM measurements WHERE run_id = 'night-1'",
            "INSERT INTO series_points (suite, fingerprint, metric, run_id, value, doubts)"
            " SELECT 'smoke', fingerprint, metric, 'night-1', 1, ARRAY['bimodal', 'drift', 'drift']"
            " FROM cases CROSS JOIN (VALUES ('latency_p50_ns'), ('throughput_rps')) AS figures (metric)",
        ):
            connection.execute(text(statement))
    migrate(url)
    assert _shown(url, "SELECT run_id FROM night_servers ORDER BY 1") == names[:2]
    sums = "SELECT concat_ws(' ', run_id, server, ok_count, failed_count) FROM server_nights ORDER BY 1"
    assert _shown(url, sums) == [f"{name} onnxruntime 1800 8" for name in names]
    doubts = "SELECT concat_ws(' ', run_id, server, reason, series) FROM doubt_nights ORDER BY 1"
    assert _shown(url, doubts) == ["night-1 onnxruntime bimodal 2", "night-1 onnxruntime drift 2"]


def _shown(url: str, query: str) -> list[object]:
    with open_engine(url, pooled=False).connect() as connection:
        return list(connection.scalars(text(query)))


def test_tables_that_are_up_to_date_are_known_to_be_without_alembic(url: str) -> None:
    """Its import would take a third of the time of a short command."""
    code = "import sys, db.migrate; db.migrate.migrate(sys.argv[1]); sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == 0
    steps = ScriptDirectory(str(Path(db.migrations.__file__).parent))
    assert newest_step() == steps.get_current_head()


def test_several_at_once_do_not_clash(new_database: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> None:
    url = new_database()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, [url] * 3))
    with Store(url) as store:
        assert store.history() == []
    assert capfd.readouterr() == ("", "")


def test_a_newer_database_is_left_alone(url: str) -> None:
    with open_engine(url, pooled=False).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r9999'"))
    with pytest.raises(UsageError, match=r"newer nightbench \(step r9999, .*upgrade nightbench"):
        migrate(url)


def test_a_database_nobody_migrated_gets_a_sentence(new_database: Callable[..., str]) -> None:
    with Store(new_database()) as store, pytest.raises(UsageError, match="holds no nightbench tables"):
        store.history()
