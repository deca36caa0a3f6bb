"""`nightbench run --offline`: a real night on a bare machine, with a server that costs its user one folder."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from db import spool
from nightbench.record import DeploymentRecord, MeasurementRecord, MissingRecord, Record, RunFinished
from tests.flows.conftest import Bench, started_by


def records(bench: Bench) -> list[Record]:
    (path,) = (bench.home / "spool").glob("*.jsonl")
    contents = spool.read(path)
    assert contents.skipped == 0
    return list(contents.records)


def measured(bench: Bench) -> list[MeasurementRecord]:
    return [record for record in records(bench) if isinstance(record, MeasurementRecord)]


def test_a_server_from_one_folder_is_deployed_checked_swept_and_reported(bench: Bench) -> None:
    code, output = bench.run("run", bench.suite(loads="{closed: 2}, {open: {rate_rps: 50}}", rounds=2), "--offline")
    assert code == 0, output
    assert "Traceback" not in output
    assert "Warning" not in output
    cells = measured(bench)
    assert len(cells) == 4
    assert all(cell.ok > 0 and cell.failed == 0 for cell in cells)
    assert all(cell.case.artifact_sha256 for cell in cells)
    report = next((bench.home / "runs").glob("*/report.html")).read_text(encoding="utf-8")
    assert "toy" in report
    assert not started_by(bench)


def test_servers_that_fail_in_every_way_cost_only_their_own_cells(bench: Bench) -> None:
    flaws = ["dies_at_start", "answers_wrongly", "dies_under_load"]
    servers = ", ".join(f"{{name: toy, options: {{flaw: {flaw}}}}}" for flaw in [*flaws, "none"])
    code, output = bench.run("run", bench.suite(servers, loads="{closed: 1}, {closed: 2}"), "--offline")
    assert code == 3, output
    failures = {
        record.options["flaw"]: record
        for record in records(bench)
        if isinstance(record, DeploymentRecord) and record.failure
    }
    assert failures["dies_at_start"].failure_kind == "died"
    assert "told to die at its start" in failures["dies_at_start"].log_tail
    assert failures["answers_wrongly"].failure_kind == "wrong_answer"
    missing = [record for record in records(bench) if isinstance(record, MissingRecord)]
    assert [record.options["flaw"] for record in missing].count("dies_at_start") == 2
    assert [record.options["flaw"] for record in missing].count("answers_wrongly") == 2
    # The one that died under load was being measured: what it did is on record, its next cell is a gap.
    assert [record.options["flaw"] for record in missing].count("dies_under_load") == 1
    died = next(cell for cell in measured(bench) if cell.case.options["flaw"] == "dies_under_load")
    assert died.failed > 0
    assert "server_died" in {doubt.reason for doubt in died.doubts}
    assert sum(cell.case.options["flaw"] == "none" for cell in measured(bench)) == 2


def test_a_killed_run_leaves_no_process_and_resumes_with_only_the_rest(bench: Bench) -> None:
    process = bench.start(
        "run", bench.suite(loads="{closed: 1}, {closed: 2}, {closed: 3}", duration_s=1.5), "--offline"
    )
    deadline = time.monotonic() + 90
    while not list((bench.home / "spool").glob("*.jsonl")) or not measured(bench):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = measured(bench)
    code, output = bench.run("run", "--resume", "--offline")
    assert code == 0, output
    after = measured(bench)
    assert after[: len(before)] == before
    assert sorted(cell.cell_id for cell in after) == sorted({cell.cell_id for cell in after})
    assert len(after) == 3
    assert not started_by(bench)
    assert [type(record) for record in records(bench)].count(RunFinished) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupting_a_run_takes_its_servers_down_and_keeps_what_it_has(
    bench: Bench, number: signal.Signals, code: int
) -> None:
    process = bench.start("run", bench.suite(loads="{closed: 1}, {closed: 2}", duration_s=2), "--offline")
    deadline = time.monotonic() + 90
    while not list((bench.home / "spool").glob("*.jsonl")) or not measured(bench):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == code, output
    assert number == signal.SIGTERM or "nightbench run --resume" in output
    assert "Traceback" not in output
    assert not started_by(bench)
    (finished,) = (record for record in records(bench) if isinstance(record, RunFinished))
    assert finished.status == "cancelled"


def test_a_stalled_server_is_not_hidden_under_open_loop(bench: Bench) -> None:
    process = bench.start("run", bench.suite(loads="{open: {rate_rps: 100}}", duration_s=4), "--offline")
    deadline = time.monotonic() + 90
    server: list[psutil.Process] = []
    while not server or not any("loadgen" in each.cmdline() for each in started_by(bench)):
        assert time.monotonic() < deadline
        server = [each for each in started_by(bench) if "serve.py" in " ".join(each.cmdline())]
        time.sleep(0.05)
    time.sleep(1.5)
    server[0].suspend()
    time.sleep(1.0)
    server[0].resume()
    process.communicate(timeout=60)
    (cell,) = measured(bench)
    # A second's worth of 100 rps in four seconds is a quarter of all requests: p90 and p99 must show the stall.
    assert cell.latency_ns["p90"].value > 0.3e9
    assert cell.failed == 0


@pytest.mark.parametrize("blocked", ["prefect", "sqlalchemy", "alembic", "psycopg2", "docker", "plotly", "jinja2"])
def test_offline_needs_neither_the_pipeline_nor_its_packages(bench: Bench, blocked: str) -> None:
    guard = (
        "import sys\n"
        f"sys.modules[{blocked!r}] = None\n"
        "from flows.cli import main\n"
        f"sys.argv = ['nightbench', 'run', {bench.suite()!r}, '--offline']\n"
        "main()\n"
    )
    command = [sys.executable, "-c", guard]
    done = subprocess.run(command, env=bench.environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(measured(bench)) == 1
