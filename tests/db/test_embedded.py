"""The embedded Postgres outlives who started it and any crash, and is open to nobody else."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from db import embedded
from db.engine import open_engine
from db.postgres_home import locate


@pytest.fixture
def home() -> Iterator[Path]:
    """A home under a private folder, with a path too long for a socket."""
    private = Path(tempfile.mkdtemp(prefix="nightbench-private-"))
    home = private / ("deep" * 30) / "home"
    try:
        yield home
    finally:
        embedded.stop(home)
        place = locate(home)
        for folder in (private, place.folder, place.socket):
            shutil.rmtree(folder, ignore_errors=True)


def _ask(url: str, *statements: str) -> object:
    with open_engine(url, pooled=False, autocommit=True).connect() as connection:
        *first, last = statements
        for statement in first:
            connection.execute(text(statement))
        return connection.scalar(text(last))


def _start_elsewhere(home: Path) -> "subprocess.Popen[str]":
    code = "import sys, pathlib; from db import embedded; print(embedded.start(pathlib.Path(sys.argv[1])), end='')"
    return subprocess.Popen([sys.executable, "-c", code, home], stdout=subprocess.PIPE, text=True)


def test_a_whole_life(home: Path) -> None:
    private = home.parent.parent
    assert not embedded.running(home)

    starters = [_start_elsewhere(home) for _ in range(2)]
    urls = {starter.communicate(timeout=120)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0]
    (url,) = urls
    assert embedded.running(home)
    assert embedded.start(home) == url

    # Nobody else gets in: no TCP, a private socket folder, and no folder of the user's opened on the way.
    assert _ask(url, "SHOW listen_addresses") == ""
    assert stat.S_IMODE(locate(home).socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(private.stat().st_mode) == 0o700

    # Killed, with its process number now belonging to somebody else: what was committed is there again.
    _ask(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42)", "SELECT 1")
    pid_file = locate(home).data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    assert not embedded.running(home)
    assert embedded.start(home) == url
    assert _ask(url, "SELECT x FROM kept") == 42

    embedded.stop(home)
    assert not embedded.running(home)
    embedded.stop(home)
    assert _ask(embedded.start(home), "SELECT x FROM kept") == 42
