"""Nights on several machines: real workers on hosts of their own, one Prefect server, one Postgres, and what breaks.

`make test-machines`: as root, on Linux, some minutes. The hosts are network namespaces (`lan`).
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.store import Store
from nightbench.record import MeasurementRecord, MissingRecord, RunFinished
from tests.flows.conftest import bench_at
from tests.machines.lan import Host, Lan, lan
from tests.machines.postgres import postgres

PREFECT_PORT = 24200
POOL = "alike"
SUITE = """
name: toy
rounds: 4
measure: {warmup_s: 0.2, duration_s: 1.5, timeout_s: 3, calibrate: false}
parity_batches: [1]
launcher: process
sweeps:
  - models: [tiny_cnn]
    servers: [toy]
    batches: [1, 2]
    loads: [{closed: 1}, {closed: 2}]
"""
CELLS = 16


@dataclass
class World:
    """Two machines with a worker each, and what they share."""

    lan: Lan
    folder: Path
    store: Store
    environment: Mapping[str, str]
    server: Any = None

    @property
    def api(self) -> str:
        return f"http://{self.lan.here.address}:{PREFECT_PORT}/api"

    def home(self, name: str) -> Path:
        return self.folder / name

    def of(self, name: str) -> dict[str, str]:
        """What the commands on that machine find in their environment."""
        home = str(self.home(name))
        own = {"NIGHTBENCH_HOME": home, "NIGHTBENCH_MACHINE": name, "TMPDIR": home}
        return {**self.environment, **own}

    def start_server(self) -> None:
        environment = {
            **self.environment,
            "PREFECT_HOME": str(self.home("prefect")),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_API_URL": self.api,
        }
        command = ["-m", "prefect", "server", "start", "--host", self.lan.here.address, "--port", str(PREFECT_PORT)]
        log = self.folder / "prefect.log"
        self.server = self.lan.here.start(sys.executable, *command, environment=environment, output=log)
        until(self.answers, "the Prefect server answers", 120)

    def stop_server(self) -> None:
        self.server.terminate()
        self.server.wait(60)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def worker(self, name: str) -> None:
        host = self.lan.hosts[name]
        host.nightbench("worker", environment=self.of(name), output=self.home(name) / "worker.log")

    def command(self, name: str, *arguments: str, seconds: float = 120) -> str:
        """Carry out a command of ours on that machine; what it printed."""
        output = self.home(name) / f"{arguments[0]}.log"
        output.unlink(missing_ok=True)
        process = self.lan.hosts[name].nightbench(*arguments, environment=self.of(name), output=output)
        code = process.wait(seconds)
        assert code == 0, output.read_text()
        return output.read_text()

    def trigger(self, suite: str = "toy") -> str:
        found = httpx.get(f"{self.api}/deployments/name/nightly/{suite}-{POOL}", timeout=10).raise_for_status()
        url = f"{self.api}/deployments/{found.json()['id']}/create_flow_run"
        return str(httpx.post(url, json={}, timeout=10).raise_for_status().json()["id"])

    def state(self, flow_run: str) -> str:
        try:
            answer = httpx.get(f"{self.api}/flow_runs/{flow_run}", timeout=5).raise_for_status()
        except httpx.HTTPError:
            return "unknown"
        return str(answer.json()["state_type"])

    def runs(self, name: str) -> set[str]:
        """The nights that this machine has begun."""
        return {path.name for path in (self.home(name) / "runs").glob("*-toy-*")}

    def measured(self, run_id: str) -> int:
        return len(self.store.records(run_id, MeasurementRecord))

    def whole(self, run_id: str) -> bool:
        """Whether each planned cell is in the database, once, and none is missing."""
        cells = [record.cell_id for record in self.store.records(run_id, MeasurementRecord)]  # type: ignore[union-attr]
        return len(cells) == len(set(cells)) == CELLS and not self.store.records(run_id, MissingRecord)


def until(done: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"in {seconds:.0f} s it did not come about that {what}")
        time.sleep(0.3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("machines")
    with lan("amber", "birch") as network, postgres(folder, network.here.address) as url, Store(url) as store:
        environment = {
            **bench_at(folder, folder / "cache").environment,
            "NIGHTBENCH_POOL": POOL,
            "NIGHTBENCH_DATABASE_URL": url,
            "PREFECT_API_URL": f"http://{network.here.address}:{PREFECT_PORT}/api",
            "NO_PROXY": f"127.0.0.1,localhost,{network.here.address}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        made = World(network, folder, store, environment)
        for name in ("amber", "birch", "prefect"):
            made.home(name).mkdir()
        (folder / "suite.yaml").write_text(SUITE)
        made.start_server()
        made.command("amber", "deploy", str(folder / "suite.yaml"), "--night", "toy")
        for name in ("amber", "birch"):
            made.worker(name)
        yield made


@contextmanager
def begun(world: World) -> Iterator[tuple[str, Host, str, str]]:
    """A night that is being measured: its flow run, its machine, that one's name, and the night's own id."""
    before = {name: world.runs(name) for name in world.lan.hosts}
    flow_run = world.trigger()

    def new() -> list[tuple[str, str]]:
        return [(name, run) for name in world.lan.hosts for run in world.runs(name) - before[name]]

    until(lambda: bool(new()), "a machine begins the night", 120)
    ((name, run_id),) = new()
    spool = world.home(name) / "spool"

    def timed() -> int:
        return sum(path.read_text().count('"kind":"measurement"') for path in spool.glob(f"{run_id}*"))

    until(lambda: timed() >= 2, "cells are measured", 120)
    yield flow_run, world.lan.hosts[name], name, run_id


def test_machines_that_are_alike_share_what_is_due(world: World) -> None:
    before = {name: world.runs(name) for name in world.lan.hosts}
    flow_runs = [world.trigger(), world.trigger()]
    until(lambda: all(world.state(each) == "COMPLETED" for each in flow_runs), "both nights complete", 240)
    new = {name: world.runs(name) - before[name] for name in world.lan.hosts}
    assert [len(runs) for runs in new.values()] == [1, 1]
    assert all(world.whole(run_id) for runs in new.values() for run_id in runs)


def test_a_minute_without_network_loses_nothing(world: World) -> None:
    with begun(world) as (flow_run, host, _, run_id):
        host.cut()
        time.sleep(60)
        host.mend()
        until(lambda: world.state(flow_run) == "COMPLETED", "the night is known to have completed", 240)
    until(lambda: world.whole(run_id), "all of the night is in the database", 60)


def test_a_machine_that_crashes_in_mid_run_does_the_rest_later(world: World) -> None:
    with begun(world) as (flow_run, host, name, run_id):
        host.crash()
    assert not world.whole(run_id)
    world.worker(name)
    until(lambda: world.state(flow_run) == "CRASHED", "the dead night is no longer shown as running", 60)
    world.command(name, "run", "--resume", run_id, seconds=240)
    assert world.whole(run_id)


def test_a_restart_of_the_prefect_server_costs_no_figure(world: World) -> None:
    with begun(world) as (flow_run, _, _, run_id):
        world.stop_server()
        time.sleep(5)
        world.start_server()
        until(lambda: world.whole(run_id), "all of the night is in the database", 240)
        until(lambda: world.state(flow_run) == "COMPLETED", "the server knows that it completed", 120)
    (ended,) = world.store.records(run_id, RunFinished)
    assert isinstance(ended, RunFinished)
    assert ended.status == "completed"


class Answers(BaseHTTPRequestHandler):
    """Counts what each machine posts."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, int] = {}  # noqa: RUF012 - the handler is made anew for each connection
    lock = threading.Lock()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            self.seen[self.client_address[0]] = self.seen.get(self.client_address[0], 0) + 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None: ...


def test_two_machines_share_one_load(world: World) -> None:
    with ThreadingHTTPServer((world.lan.here.address, 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            figures = world.home("amber") / "figures.json"
            # Whoever asks measures nothing: the parts are taken by the workers, this machine's own among them.
            said = world.command(
                *("amber", "sweep", f"http://{world.lan.here.address}:{server.server_port}", "--body-bytes", "100"),
                *("--open", "200", "--duration", "4", "--warmup", "1", "--machines", "2", "--seed", "7"),
                *("--json", str(figures), "--allow-remote"),
                seconds=420,
            )
        finally:
            server.shutdown()
            thread.join()
    found = json.loads(figures.read_text())
    assert found["failed"] == 0, said
    assert sum(Answers.seen.values()) == found["requests"]
    assert set(Answers.seen) == {host.address for host in world.lan.hosts.values()}
    # The one schedule is dealt row by row, so each has half of it.
    assert max(Answers.seen.values()) - min(Answers.seen.values()) <= 1
