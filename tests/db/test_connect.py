"""A database the user names is proven to answer before any work, and no message shows its password."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from db.connect import database_url
from nightbench.errors import UsageError
from nightbench.settings import Settings


def _settings(database: str | None, home: Path = Path("/nonexistent")) -> Settings:
    return replace(Settings.from_environment({"HOME": "/nonexistent"}), database_url=database, home=home)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_any_way_of_writing_postgres_is_understood(url: str, scheme: str) -> None:
    assert database_url(_settings(url.replace("postgresql+psycopg2", scheme))) == url


def test_without_a_url_it_is_the_embedded_database(postgres_home: Path) -> None:
    assert make_url(database_url(_settings(None, postgres_home))).database == "nightbench"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mysql://me:s3cret@db/x", "'mysql' is not Postgres; write it as postgresql://"),
        ("sqlite:///file.db", "'sqlite' is not Postgres"),
        ("s3cret", "it is not a URL"),
        ("postgresql://me:s3cret@db:port/x", "it is not a URL"),
        ("postgresql://me:s3cret@127.0.0.1:{free}/bench", r"127\.0\.0\.1:\d+/bench does not answer \(.*refused"),
        ("postgresql://me@127.0.0.1:{free}/bench?password=s3cret", r"127\.0\.0\.1:\d+/bench does not answer"),
        ("postgresql://me:s3cret@127.0.0.1:{free}/bench?colour=s3cret", r"127\.0\.0\.1:\d+/bench does not answer"),
        ("postgresql://me:s3cret@no-such-host.invalid/bench", "no-such-host.invalid:5432/bench does not answer"),
    ],
)
def test_a_url_that_cannot_work_gets_one_sentence(given: str, message: str) -> None:
    with socket.socket() as held:
        # Bound and never listening: whoever connects is refused, and nobody else takes the port meanwhile.
        held.bind(("127.0.0.1", 0))
        with pytest.raises(UsageError, match=message) as caught:
            database_url(_settings(given.replace("{free}", str(held.getsockname()[1]))))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_does_not_exist_is_named(url: str) -> None:
    with pytest.raises(UsageError, match='"nowhere" does not exist'):
        database_url(_settings(make_url(url).set(database="nowhere").render_as_string()))
