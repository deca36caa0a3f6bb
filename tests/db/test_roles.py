"""The dashboards' role reads every view, reads nothing else, and changes nothing."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, literal, make_url, select, table, text
from sqlalchemy.exc import InternalError, ProgrammingError

from db.engine import open_engine
from db.roles import READER, ensure_reader
from nightbench.errors import UsageError

PASSWORD = "it's 100% :secret"  # noqa: S105  (characters that SQL and drivers read in their own way)

VIEWS = "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
TABLES = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"


def _engine(url: str, name: str) -> Engine:
    return open_engine(make_url(url).set(username=name).render_as_string(hide_password=False), pooled=False)


@pytest.fixture
def reader(url: str) -> Iterator[Connection]:
    ensure_reader(url, PASSWORD)
    with _engine(url, READER).connect() as connection:
        yield connection


def test_it_reads_every_view(reader: Connection) -> None:
    views = list(reader.scalars(text(VIEWS)))
    assert "measurement_facts" in views
    for view in views:
        reader.execute(select(literal(1)).select_from(table(view))).all()


def test_it_reads_no_table(reader: Connection) -> None:
    tables = list(reader.scalars(text(TABLES)))
    assert {"runs", "measurements"} <= set(tables)
    for each in tables:
        with pytest.raises(ProgrammingError, match="permission denied"):
            reader.execute(select(literal(1)).select_from(table(each)))
        reader.rollback()


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO runs (run_id) VALUES ('x')", "DELETE FROM alerts", "CREATE TABLE mine (a int)", "CREATE ROLE other"],
)
def test_it_changes_nothing_even_where_it_says_it_may_write(reader: Connection, statement: str) -> None:
    with pytest.raises(InternalError, match="read-only transaction"):
        reader.execute(text(statement))
    reader.rollback()
    reader.execute(text("SET TRANSACTION READ WRITE"))
    with pytest.raises(ProgrammingError, match="permission denied"):
        reader.execute(text(statement))


def test_a_panel_that_never_ends_is_ended(reader: Connection) -> None:
    assert reader.execute(text("SHOW statement_timeout")).scalar_one() == "30s"


def test_views_made_since_are_read_after_the_next_call(url: str) -> None:
    ensure_reader(url, PASSWORD)
    with open_engine(url, pooled=False).begin() as connection:
        connection.execute(text('CREATE VIEW "New view" AS SELECT 1 AS one'))
    ensure_reader(url, PASSWORD)
    with _engine(url, READER).connect() as connection:
        assert connection.execute(text('SELECT one FROM "New view"')).scalar_one() == 1


def test_the_server_is_sent_a_verifier_and_no_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    verifiers = []
    for password in (PASSWORD, PASSWORD, "another"):
        with caplog.at_level(logging.DEBUG):
            ensure_reader(url, password)
        with open_engine(url, pooled=False).connect() as connection:
            query = text("SELECT rolpassword FROM pg_authid WHERE rolname = :name")
            verifiers.append(connection.execute(query, {"name": READER}).scalar_one())
    assert all(each.startswith("SCRAM-SHA-256$") for each in verifiers)
    assert len(set(verifiers)) == 3  # salted: not even the same password looks the same
    assert PASSWORD not in caplog.text


def test_several_at_once_do_not_clash(url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ensure_reader, [url] * 3, [PASSWORD] * 3))


def test_who_may_not_make_roles_gets_a_sentence(url: str, new_database: Callable[[], str]) -> None:
    with open_engine(url, pooled=False).begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS plain_user"))
        connection.execute(text("CREATE ROLE plain_user LOGIN"))
    plain = make_url(url).set(username="plain_user").render_as_string(hide_password=False)
    with pytest.raises(UsageError, match=r"give that user CREATEROLE, or unset NIGHTBENCH_READER_PASSWORD") as failed:
        ensure_reader(plain, PASSWORD)
    assert PASSWORD not in str(failed.value)
