"""A Prefect server, a database and a worker, each a process of its own in a world of its own."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from db import spool
from nightbench.record import MeasurementRecord, RunStarted
from tests.flows.conftest import Bench

_START = """
import json, sys
from flows.prefect_settings import configure
from nightbench.settings import Settings
configure(Settings.from_environment(), sys.argv[1])
from nightbench.errors import NightbenchError
from flows.trigger import start_run
try:
    print(start_run(sys.argv[2], json.loads(sys.argv[3])))
except NightbenchError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def wait_for(what: Callable[[], Any], seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


@dataclass
class Works:
    """Everything that a night needs, as it stands on one machine."""

    bench: Bench
    api: str

    def ask(self, what: str, **filters: Any) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.api}/{what}/filter", json=filters, timeout=30)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def start(self, suite: str, /, **parameters: object) -> str:
        """The id of the flow run; `AssertionError` with what was said, if none was made."""
        code, said = self.tried(suite, **parameters)
        assert code == 0, said
        return said

    def tried(self, suite: str, /, **parameters: object) -> tuple[int, str]:
        command = [sys.executable, "-c", _START, self.api, suite, json.dumps(parameters)]
        done = subprocess.run(
            command, env=self.bench.environment, capture_output=True, text=True, check=False, timeout=300
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def start_deployment(self, name: str, **parameters: object) -> str:
        """As the UI does."""
        (deployment,) = self.ask("deployments", deployments={"name": {"any_": [name]}})
        address = f"{self.api}/deployments/{deployment['id']}/create_flow_run"
        answer = httpx.post(address, json={"parameters": parameters}, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def run(self, flow_run_id: str) -> dict[str, Any]:
        (found,) = self.ask("flow_runs", flow_runs={"id": {"any_": [flow_run_id]}})
        return found

    def ended(self, flow_run_id: str) -> dict[str, Any]:
        """The flow run, once it is over."""
        finals = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}

        def over() -> dict[str, Any] | None:
            found = self.run(flow_run_id)
            return found if found["state_type"] in finals else None

        found: dict[str, Any] = wait_for(over)
        return found

    def measuring(self, flow_run_id: str) -> str:
        """The run id of what that flow run measures, once one of its cells has been measured."""

        def look() -> str | None:
            begun = self.run(flow_run_id)["start_time"]
            for run_id, path in self._spooled().items() if begun else ():
                records = spool.read(path).records
                starts = [each.started_at for each in records if isinstance(each, RunStarted)]
                own = any(start >= datetime.fromisoformat(begun) for start in starts)
                if own and any(isinstance(each, MeasurementRecord) for each in records):
                    return run_id
            return None

        found: str = wait_for(look)
        return found

    def _spooled(self) -> dict[str, Path]:
        return {path.stem: path for path in (self.bench.home / "spool").glob("*.jsonl")}

    def servers(self, run_id: str) -> list[psutil.Process]:
        """What that run has started and is still there."""
        found = []
        for each in psutil.process_iter():
            try:
                if each.environ().get("NIGHTBENCH_RUN") == run_id and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
            except psutil.Error:
                continue
        return found

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[str]"]:
        """A worker that takes what is due until the block ends; nothing of it is left then."""
        process = self.bench.start("worker")
        try:
            yield process
        finally:
            started = tree(process.pid)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs(started, timeout=60)
            for each in alive:
                each.kill()
            process.communicate(timeout=30)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def works(bench: Bench, *suites: str) -> Iterator[Works]:
    """The services of ``bench`` up, and deployments of these suite files beside ours."""
    code, output = bench.run("up")
    assert code == 0, output
    address = re.search(r"http://127\.0\.0\.1:\d+", output)
    assert address, output
    try:
        code, output = bench.run("deploy", *suites)
        assert code == 0, output
        yield Works(bench, f"{address[0]}/api")
    finally:
        bench.run("down")
