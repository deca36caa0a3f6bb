"""The night inside a real Prefect server and a real Postgres, both as `nightbench up` leaves them."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from db import embedded, spool
from db.store import Store
from nightbench.record import MeasurementRecord
from tests.flows.conftest import Bench, bench_at


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[tuple[Bench, str]]:
    """A bench whose services are up, and Prefect's API address."""
    bench = bench_at(tmp_path_factory.mktemp("services"), shared_cache)
    try:
        code, output = bench.run("up")
        assert code == 0, output
        address = re.search(r"http://127\.0\.0\.1:\d+", output)
        assert address, output
        yield bench, f"{address[0]}/api"
    finally:
        bench.run("down")


def ask(api: str, what: str, **filters: Any) -> list[dict[str, Any]]:
    answer = httpx.post(f"{api}/{what}/filter", json=filters, timeout=30)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def spooled(bench: Bench) -> dict[str, Path]:
    return {path.stem: path for path in (bench.home / "spool").rglob("*.jsonl")}


def wait_for(what: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def first_cell_is_measured(bench: Bench, known: set[str]) -> Callable[[], str | None]:
    """The id of a run begun after ``known``, once one of its cells has been measured."""

    def look() -> str | None:
        for run_id, path in spooled(bench).items():
            if run_id not in known and any(isinstance(each, MeasurementRecord) for each in spool.read(path).records):
                return run_id
        return None

    return look


def test_two_runs_are_two_nights_each_to_be_read_in_prefect(services: tuple[Bench, str]) -> None:
    bench, api = services
    suite = bench.suite(servers="toy, {name: toy, options: {flaw: dies_at_start}}", rounds=1)
    for _ in range(2):
        code, output = bench.run("run", suite)
        assert code == 3, output  # one server was told to die
        assert "Traceback" not in output
        assert "Warning" not in output
    link = re.search(r"/runs/flow-run/([0-9a-f-]{36})", output)
    assert link
    (night,) = ask(api, "flow_runs", flow_runs={"id": {"any_": [link[1]]}})
    assert night["state_type"] == "COMPLETED"
    assert night["name"] == "suite"
    children = ask(api, "flow_runs", flow_runs={"parent_flow_run_id": {"any_": [link[1]]}})
    assert {child["name"] for child in children} == {"toy tiny_cnn round 1"}
    assert len(children) == 2
    shown = {each["key"]: each for each in ask(api, "artifacts", flow_runs={"id": {"any_": [link[1]]}})}
    assert {"results", "summary", "night"} <= set(shown)
    assert shown["night"]["data"] == 100.0
    assert "rounds missing" in shown["results"]["data"]
    assert "did not come up" in shown["summary"]["data"]
    code, history = bench.run("history")
    assert code == 0, history
    assert len(re.findall(r"-toy-[0-9a-f]{4}", history)) == 2


def test_what_only_the_run_finds_out_is_a_sentence_too(services: tuple[Bench, str]) -> None:
    bench, _ = services
    suite = Path(bench.suite())
    suite.write_text(f"launcher: docker\n{suite.read_text()}")
    code, output = bench.with_settings(DOCKER_HOST="unix:///nowhere/docker.sock").run("run", str(suite))
    assert code == 2, output
    assert "Traceback" not in output
    assert "no Docker engine answers" in output.strip().splitlines()[-1]


def test_a_database_that_stops_in_mid_run_costs_nothing(services: tuple[Bench, str]) -> None:
    bench, _ = services
    known = set(spooled(bench))
    process = bench.start("run", bench.suite(loads="{closed: 1}, {closed: 2}", rounds=2, duration_s=1.0))
    run_id = wait_for(first_cell_is_measured(bench, known))
    embedded.stop(bench.home)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "the results wait in the spool" in output
    for _ in range(2):
        code, output = bench.run("ingest")
        assert code == 0, output
    with Store(embedded.start(bench.home)) as store:
        stored = [record for record in store.records(run_id) if isinstance(record, MeasurementRecord)]
    assert len(stored) == 4
    assert len({record.cell_id for record in stored}) == 4


def test_cancelling_the_flow_run_takes_its_server_down(services: tuple[Bench, str]) -> None:
    bench, api = services
    known = set(spooled(bench))
    process = bench.start("run", bench.suite(loads="{closed: 1}, {closed: 2}", duration_s=20))

    def serving() -> list[psutil.Process]:
        runs = set(spooled(bench)) - known
        return [
            each for each in psutil.process_iter() if labelled(each) in runs and "serve.py" in " ".join(each.cmdline())
        ]

    server = wait_for(serving)
    of_nights = {"name": {"any_": ["nightly"]}}
    (running,) = ask(api, "flow_runs", flows=of_nights, flow_runs={"state": {"type": {"any_": ["RUNNING"]}}})
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True}
    httpx.post(f"{api}/flow_runs/{running['id']}/set_state", json=cancelling, timeout=30).raise_for_status()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "nightbench run --resume" in output
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in server)


def labelled(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("NIGHTBENCH_RUN")
    except psutil.Error:
        return None


def test_a_database_that_cannot_be_reached_is_one_sentence_before_any_work(bench: Bench) -> None:
    secret = "s3cret"  # noqa: S105 - what must not be printed
    environment = {**bench.environment, "NIGHTBENCH_DATABASE_URL": f"postgresql://me:{secret}@127.0.0.1:1/nights"}
    code, output = Bench(bench.home, environment).run("run", bench.suite())
    assert code == 2, output
    assert "127.0.0.1:1" in output
    assert secret not in output
    assert not list((bench.home / "runs").glob("*"))


def test_down_leaves_nothing_running(bench: Bench) -> None:
    code, output = bench.run("up")
    assert code == 0, output
    server = psutil.Process(json.loads((bench.home / "services/prefect.json").read_text())["pid"])
    tree = [server, *server.children(recursive=True)]
    assert embedded.running(bench.home)
    code, output = bench.run("down")
    assert code == 0, output
    assert output.count("stopped") == 2
    assert not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert not embedded.running(bench.home)


def test_two_commands_that_want_a_server_at_once_share_one(bench: Bench) -> None:
    both = [bench.start("up"), bench.start("up")]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    addresses = {re.search(r"http://\S+", output)[0] for output in outputs if re.search(r"http://\S+", output)}
    assert len(addresses) == 1


def test_a_prefect_server_that_dies_in_mid_run_costs_its_pages_only(bench: Bench) -> None:
    code, output = bench.run("up")
    assert code == 0, output
    process = bench.start("run", bench.suite(loads="{closed: 1}, {closed: 2}", rounds=2, duration_s=1.0))
    wait_for(first_cell_is_measured(bench, set()))
    os.kill(json.loads((bench.home / "services/prefect.json").read_text())["pid"], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "Prefect cannot be reached" in output
    assert "Traceback" not in output
    (path,) = spooled(bench).values()
    assert sum(isinstance(each, MeasurementRecord) for each in spool.read(path).records) == 4


def test_a_run_killed_in_mid_sweep_leaves_its_cells_in_the_database_and_is_resumed(services: tuple[Bench, str]) -> None:
    bench, _ = services
    known = set(spooled(bench))
    process = bench.start("run", bench.suite(loads="{closed: 1}, {closed: 2}, {closed: 3}", duration_s=1.5))
    run_id = wait_for(first_cell_is_measured(bench, known))
    process.kill()
    process.communicate()
    code, output = bench.run("show", run_id)
    assert code == 0, output
    assert not [each for each in psutil.process_iter() if labelled(each) == run_id]
    with Store(embedded.start(bench.home)) as store:
        before = store.cell_ids(run_id)
        assert before
        code, output = bench.run("run", "--resume", run_id)
        assert code == 0, output
        after = [record for record in store.records(run_id) if isinstance(record, MeasurementRecord)]
    assert len(after) == 3
    assert before < {record.cell_id for record in after}
