"""The two services a machine without any needs: an embedded Postgres and a Prefect server, both on loopback.

They outlive the command that starts them, so that a finished run can be looked at; `nightbench down` ends both.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path

import psutil

from db import embedded
from flows.prefect_settings import prefect_environment
from nightbench.errors import NightbenchError, UsageError
from nightbench.settings import Settings
from tasks.store import open_store

__all__ = ["Prefect", "answers", "prefect_up", "running_prefect", "start_database", "stop_database", "stop_prefect"]

USUAL_PORT = 4200
START_TIMEOUT_S = 120.0
START_ATTEMPTS = 5
STOP_TIMEOUT_S = 15.0
LAST_WORDS_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Prefect:
    """A Prefect server of ours."""

    pid: int
    created: float
    """The process's start time: with the pid, it names one process for good."""
    port: int

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    @property
    def process(self) -> psutil.Process | None:
        """The live process, or ``None`` once it is gone."""
        try:
            process = psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return None
        return process if abs(process.create_time() - self.created) < 1 else None


def start_database(settings: Settings) -> None:
    """Bring up the embedded Postgres, or find the user's own database; its tables made.

    Raises:
        UsageError: the user's database cannot be reached.
    """
    open_store(settings).close()


def stop_database(settings: Settings) -> bool:
    """Stop the embedded Postgres; whether there was one."""
    if not embedded.running(settings.home):
        return False
    embedded.stop(settings.home)
    return True


def _state_file(settings: Settings) -> Path:
    return settings.services / "prefect.json"


def running_prefect(settings: Settings) -> Prefect | None:
    """The server an earlier command left up, if it still answers."""
    try:
        server = Prefect(**json.loads(_state_file(settings).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return server if server.process and answers(server.api_url) else None


def prefect_up(settings: Settings) -> Prefect:
    """The running Prefect server, started if need be; of several commands that want it, one starts it.

    Raises:
        UsageError: the port asked for is taken.
        NightbenchError: it did not come up.
    """
    settings.services.mkdir(parents=True, exist_ok=True)
    # Not inherited by what is started under it (PEP 446), so it ends with this block.
    with (settings.services / "prefect.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return running_prefect(settings) or _start_prefect(settings)


def _start_prefect(settings: Settings) -> Prefect:
    stop_prefect(settings)
    for _ in range(START_ATTEMPTS):
        port = _choose_port(settings.prefect_port)
        server = _started_on(port, settings)
        if server is not None:
            return server
        # A port free a moment ago may be another home's by now; one that nobody has was not the trouble.
        if settings.prefect_port is not None or _free(port):
            break
    log = _log_file(settings)
    raise NightbenchError(f"the Prefect server did not come up{_last_words(log)}; its log is {log}")


def _started_on(port: int, settings: Settings) -> Prefect | None:
    """The server once it answers on ``port``; ``None``, and nothing left of it, when it does not."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    env = {**os.environ, **prefect_environment(settings), "PREFECT_SERVER_UI_API_URL": url, "PREFECT_API_URL": url}
    with _log_file(settings).open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=settings.services,
            start_new_session=True,
        )
    server = Prefect(process.pid, psutil.Process(process.pid).create_time(), port)
    _state_file(settings).write_text(json.dumps(asdict(server)), encoding="utf-8")
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (answers(server.api_url) and _listens(server)):
        if process.poll() is not None or time.monotonic() > deadline:
            stop_prefect(settings)
            # Where it ended by itself, what it had started may go on; all of it is a session of its own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            return None
        time.sleep(0.2)
    return server


def _log_file(settings: Settings) -> Path:
    return settings.services / "prefect.log"


def _last_words(log: Path) -> str:
    """The last line it wrote, as the end of a clause."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f" ({lines[-1][:LAST_WORDS_CHARACTERS]})" if lines else ""


def stop_prefect(settings: Settings) -> bool:
    """Stop our Prefect server and all it started; whether there was one."""
    path = _state_file(settings)
    try:
        process = Prefect(**json.loads(path.read_text(encoding="utf-8"))).process
    except (OSError, ValueError, TypeError):
        return False
    path.unlink(missing_ok=True)
    if process is None:
        return False
    tree = [process, *process.children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=STOP_TIMEOUT_S)
    for straggler in alive:
        straggler.kill()
    psutil.wait_procs(alive, timeout=5)
    return True


def answers(api_url: str) -> bool:
    """Whether a Prefect API is there, asked without any proxy: ours is on this machine."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{api_url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, HTTPException):
        return False


def _listens(server: Prefect) -> bool:
    """Whether it is this server, or a child of its, that has the port."""
    process = server.process
    if process is None:
        return False
    try:
        family = [process, *process.children(recursive=True)]
        open_ports = {
            connection.laddr.port
            for each in family
            for connection in each.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        }
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # some systems show nobody's ports
        return True
    return server.port in open_ports


def _choose_port(wanted: int | None) -> int:
    """The port asked for, else Prefect's usual one, else any free one."""
    if wanted is not None and not _free(wanted):
        raise UsageError(
            f"environment: NIGHTBENCH_PREFECT_PORT: port {wanted} is taken by another program; choose another"
        )
    if wanted is not None or _free(USUAL_PORT):
        return wanted or USUAL_PORT
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
