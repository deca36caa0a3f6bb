"""A night on a server that is running already: measured like any other, and still running afterwards."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db import spool
from export import zoo
from export.isolated import prepare
from launch.environment import ensure_environment
from launch.process import LaunchRequest, ProcessLauncher, alive
from loadgen.probe import PoolProber
from nightbench.model import Format, Precision
from nightbench.record import DeploymentRecord, MeasurementRecord
from nightbench.server import EXTERNAL, Deployment, Limits, Protocol
from servers import discover
from tests.flows.conftest import TOYS, Bench


@contextmanager
def toy_running(folder: Path, cache: Path) -> Iterator[Deployment]:
    spec, model = discover([TOYS])["toy"], zoo.models()["tiny_cnn"]
    prepared = prepare(
        model, Format.TORCHSCRIPT, Precision.FP32, "random", cache / "artifacts", 16, (1, 4), log=folder / "export.log"
    )
    request = LaunchRequest(
        spec=spec,
        model=model,
        artifact=prepared.artifact,
        options={},
        threads=1,
        limits=Limits(),
        environment=ensure_environment(spec, folder, "host", lambda _: None, folder / "log"),
        run_id="somebody",
        deployment_id="else",
        log_path=folder / "toy.log",
    )
    prober = PoolProber(prepared.pool, model.inputs, model.outputs, model.tolerance)
    with ProcessLauncher().launch(request, prober) as deployment:
        yield deployment


def test_a_server_that_is_running_already_is_measured(bench: Bench, shared_cache: Path) -> None:
    with toy_running(bench.home, shared_cache) as theirs:
        port = theirs.endpoints[Protocol.RAW_HTTP].port
        entry = f"{{name: mine, format: torchscript, external: {{url: 'http://127.0.0.1:{port}', protocol: raw-http}}}}"
        suite = bench.suite(entry, rounds=2)
        code, output = bench.run("run", suite, "--offline")
        assert code == 0, output
        assert "Traceback" not in output
        assert "all rounds are of one deployment" in output
        code, plan = bench.run("plan", suite)
        assert code == 0, plan
        (path,) = (bench.home / "spool").glob("*.jsonl")
        records = spool.read(path).records
        cells = [record for record in records if isinstance(record, MeasurementRecord)]
        assert [cell.case.server for cell in cells] == ["mine", "mine"]
        assert all(cell.ok > 0 and cell.failed == 0 for cell in cells)
        assert all(any(series.source == "server" for series in cell.telemetry) for cell in cells)
        assert cells[0].case.options["url"] == f"http://127.0.0.1:{port}"
        starts = [record for record in records if isinstance(record, DeploymentRecord)]
        assert {(start.environment, start.cold_start_ns, start.failure) for start in starts} == {(EXTERNAL, None, None)}
        assert alive(theirs), "it outlives the run that measured it"


def test_one_that_is_not_there_is_a_gap(bench: Bench) -> None:
    entry = "{name: mine, format: torchscript, external: {url: 'http://127.0.0.1:1', protocol: raw-http}}"
    code, output = bench.run("run", bench.suite(entry), "--offline")
    assert code == 3, output
    assert "Traceback" not in output
    assert "mine" in output


@pytest.mark.parametrize("command", ["servers", "envs"])
def test_what_is_listed_can_be_read_by_a_program(bench: Bench, command: str) -> None:
    code, output = bench.run(command, "--json")
    assert code == 0, output
    assert json.loads(output)


def test_servers_say_where_they_run(bench: Bench) -> None:
    code, output = bench.run("servers", "--json")
    found = {server["name"]: server for server in json.loads(output)}
    assert code == 0
    assert found["toy"]["here"] == found["toy"]["runs_as"] == "process"
    assert found["pytorch"]["runs_as"] == "in-process"
    assert all(server["here"] is None or not server["missing"] for server in found.values())


def test_old_environments_are_pruned_and_present_ones_kept(bench: Bench, tmp_path: Path) -> None:
    bench = Bench(bench.home, {**bench.environment, "NIGHTBENCH_CACHE": str(tmp_path)})
    old = tmp_path / "environments" / "toy-000000000000"
    (old / "bin").mkdir(parents=True)
    (old / "bin" / "python").touch()
    (old / ".complete").write_text('{"build_ns": 1}')
    assert '"current": false' in bench.run("envs", "--json")[1]
    assert bench.run("envs", "--all")[0] == 2
    code, output = bench.run("envs", "prune")
    assert (code, "removed toy-000000000000" in output) == (0, True), output
    assert not old.exists()
    assert "nothing to remove" in bench.run("envs", "prune", "--all")[1]
