"""What cannot be done is one sentence and exit code 2, before anything is started, built or written."""

import socket
from pathlib import Path

import pytest

from tests.flows.conftest import Bench


def refused(bench: Bench, *arguments: str) -> str:
    code, output = bench.run(*arguments)
    assert code == 2, output
    assert "Traceback" not in output
    assert not (bench.home / "runs").exists() or not list((bench.home / "runs").iterdir())
    assert not list((bench.home / "spool").glob("*.jsonl"))
    assert len(output.strip().splitlines()) == 1, output
    return output


@pytest.mark.parametrize(
    ("servers", "loads", "sentence"),
    [
        ("tooy", "{closed: 1}", "server 'tooy' is unknown; did you mean 'toy'?"),
        ("{name: toy, format: onnx}", "{closed: 1}", "toy cannot serve 'onnx'; use one of: torchscript"),
        ("{name: toy, protocols: [kserve-grpc]}", "{closed: 1}", "does not speak 'kserve-grpc'; use one of: raw-http"),
        ("toy, toy", "{closed: 1}", "is planned twice"),
        ("toy", "{closed: 0}", "0 is wrong; it should be greater than 0"),
        ("toy", "{open: {rate_rps: -1}}", "-1 is wrong; it should be greater than 0"),
        ("toy", "{clsoed: 1}", "unknown key 'clsoed'; did you mean 'closed'?"),
    ],
)
def test_a_suite_that_makes_no_sense(bench: Bench, servers: str, loads: str, sentence: str) -> None:
    suite = bench.suite(servers, loads)
    output = refused(bench, "run", suite, "--offline")
    assert sentence in output
    assert suite in output


def test_a_suite_that_is_not_there(bench: Bench) -> None:
    assert "did you mean 'smoke'?" in refused(bench, "run", "smke")
    assert "cannot be read" in refused(bench, "run", "absent.yaml")


def test_a_port_range_that_is_in_use(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = Bench(bench.home, {**bench.environment, "NIGHTBENCH_SERVER_PORTS": f"{port}-{port}"})
        output = refused(busy, "run", bench.suite(), "--offline")
    assert f"{port}-{port}" in output


def test_a_spool_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    elsewhere = Bench(bench.home, {**bench.environment, "NIGHTBENCH_HOME": str(blocked)})
    output = refused(elsewhere, "run", bench.suite(), "--offline")
    assert str(blocked) in output
    assert "NIGHTBENCH_HOME" in output


def test_resuming_when_there_is_nothing_to_resume(bench: Bench) -> None:
    assert "no run on this machine is unfinished" in refused(bench, "run", "--resume", "--offline")
    assert "run 'nosuch'" in refused(bench, "run", "--resume", "nosuch", "--offline")


def test_a_seed_that_no_database_can_keep(bench: Bench) -> None:
    assert "--seed: -1 is wrong" in refused(bench, "run", bench.suite(), "--offline", "--seed=-1")
    assert "leave --seed out" in refused(bench, "run", "--resume", "--seed=5", "--offline")


def test_options_that_do_not_fit_together(bench: Bench) -> None:
    servers = "{name: triton, format: onnx, options: {preferred_batch_size: abc}}"
    assert "preferred_batch_size" in refused(bench, "run", bench.suite(servers), "--offline")


def test_a_server_folder_that_does_not_import(bench: Bench, tmp_path: Path) -> None:
    broken = tmp_path / "mine" / "broken"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import nosuchmodule\n")
    mine = Bench(bench.home, {**bench.environment, "NIGHTBENCH_SERVERS_PATH": str(broken.parent)})
    assert str(broken) in refused(mine, "servers")
