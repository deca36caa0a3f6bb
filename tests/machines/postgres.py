"""A Postgres that listens on a network: Debian's own, since the embedded one speaks to its own machine alone."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pwd import getpwnam

__all__ = ["PORT", "postgres"]

PORT = 25432
_ACCOUNT = "nobody"
"""Postgres refuses to run as root."""


def _bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise RuntimeError("there is no PostgreSQL here; apt-get install postgresql")
    return found[-1].parent


@contextmanager
def postgres(folder: Path, address: str) -> Iterator[str]:
    """Its SQLAlchemy URL. The data lie below ``folder`` and stay after the server has ended."""
    programs, data = _bin(), folder / "postgres"
    data.mkdir()
    uid = getpwnam(_ACCOUNT).pw_uid
    os.chown(data, uid, -1)
    for above in data.parents:
        if above != Path("/") and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    initialise = [programs / "initdb", "-D", data / "data", "-U", "nightbench", "-A", "trust", "-N", "-E", "UTF8"]
    subprocess.run(initialise, check=True, capture_output=True, user=_ACCOUNT, cwd=data)
    with (data / "data/pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet trust\n")
    with (folder / "postgres.log").open("w") as log:
        server = subprocess.Popen(
            [
                *(programs / "postgres", "-D", data / "data", "-p", str(PORT), "-k", data),
                *("-c", f"listen_addresses={address}", "-c", "fsync=off"),
            ],
            user=_ACCOUNT,
            cwd=data,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        create = [programs / "createdb", "-h", address, "-p", str(PORT), "-U", "nightbench", "nightbench"]
        for _ in range(300):
            if subprocess.run(create, check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        yield f"postgresql+psycopg2://nightbench@{address}:{PORT}/nightbench"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(data, ignore_errors=True)
