"""The steps lead to exactly the tables the code knows, whoever runs them and however often."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from db.engine import open_engine
from db.measurement_tables import measurements
from db.migrate import migrate
from db.store import Store
from nightbench.errors import UsageError

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
