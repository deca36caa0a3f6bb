"""What `docs/store.md` says of backup and restore, done: the commands are those."""

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url, text

from db.drain import drain
from db.engine import open_engine
from db.maintenance import maintain
from db.migrate import migrate
from db.postgres_home import locate, programs
from db.spool import Spool
from db.store import Store
from nightbench.record import MeasurementRecord, Record, RunStarted, encode
from tests.db.test_months import NOW, OLD, YOUNG

_TABLES = """
SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v')
    AND relnamespace IN ('public'::regnamespace, 'months'::regnamespace)
ORDER BY 1
"""


def _run(home: Path, program: str, *arguments: str) -> None:
    done = subprocess.run([programs(locate(home)) / program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_restored_database_is_the_same_and_goes_on(
    postgres_home: Path,
    store: Store,
    url: str,
    new_database: Callable[..., str],
    night: Callable[..., list[Record]],
    tmp_path: Path,
) -> None:
    for run_id in (OLD, YOUNG, "by-hand"):
        store.ingest(night(run_id))
    maintain(store, NOW)
    dump = tmp_path / "nightbench.dump"
    _run(postgres_home, "pg_dump", "--format=custom", f"--file={dump}", _libpq(url))

    other = new_database("template0")
    _run(postgres_home, "pg_restore", "--exit-on-error", f"--dbname={_libpq(other)}", str(dump))
    migrate(other)
    with Store(other) as restored:
        for run_id in (OLD, YOUNG, "by-hand"):
            # As they are written down, because one of them is not a number.
            assert list(map(encode, restored.records(run_id))) == list(map(encode, store.records(run_id)))
            again = restored.ingest(night(run_id))
            assert (again.new, again.refused) == (0, ())
        assert restored.history() == store.history()
        maintain(restored, NOW)
        assert restored.ingest(night("20261120-023000-smoke-ab12")).refused == ()
    names = []
    for each in (url, other):
        with open_engine(each, pooled=False).connect() as connection:
            names.append(list(connection.scalars(text(_TABLES))))
    assert names[0] == names[1]


def test_what_the_dump_was_too_early_for_comes_back_from_the_spool(
    store: Store, night: Callable[..., list[Record]], tmp_path: Path
) -> None:
    spool, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    for run_id in (YOUNG, "20261120-023000-smoke-ab12"):
        with Spool.open(spool, run_id) as opened:
            opened.append(*night(run_id))
    with tarfile.open(tmp_path / "spool.tar.gz", "w:gz") as archive:
        archive.add(spool, "spool")
    # The database as it was dumped has the first of the two already.
    store.ingest(night(YOUNG))
    with tarfile.open(tmp_path / "spool.tar.gz") as archive:
        archive.extractall(elsewhere, filter="data")
    done = drain(elsewhere / "spool", store)
    assert (done.files, done.new, done.known) == (2, len(night(YOUNG)), len(night(YOUNG)))
    for run_id in (YOUNG, "20261120-023000-smoke-ab12"):
        assert len(store.records(run_id, MeasurementRecord)) == 2
        assert store.run_started(run_id) == next(each for each in night(run_id) if isinstance(each, RunStarted))
