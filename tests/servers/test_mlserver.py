"""The folder that MLServer is started on, and which options go together."""

import json
from pathlib import Path
from typing import Any

import pytest

from nightbench.errors import UsageError
from nightbench.model import Artifact, Format, Precision
from nightbench.server import Command, OptionValue, ServeRequest
from servers.mlserver import SERVER
from tests.servers.toy import MODEL


def laid_out(workdir: Path, **options: OptionValue) -> tuple[Command, dict[str, Any], dict[str, Any]]:
    """The command, the server's settings and the model's."""
    request = ServeRequest(
        model=MODEL,
        artifact=Artifact("toy", Format.ONNX, Precision.FP32, "random", Path("/models/toy.onnx"), "0" * 64, 1),
        options=SERVER.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={"http": 20000, "grpc": 20001, "metrics": 20002},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir / "env/bin/python",
        site_packages=workdir / "env/lib",
    )
    command = SERVER.command(request)
    folder = Path(command.argv[-1])
    assert (folder / "toy/model.py").is_file()
    server = json.loads((folder / "settings.json").read_text())
    model = json.loads((folder / "toy/model-settings.json").read_text())
    return command, server, model


def test_the_servers_own_script_serves_the_folder(tmp_path: Path) -> None:
    command, _, _ = laid_out(tmp_path)
    assert command.argv[:-1] == (f"{tmp_path}/env/bin/python", "-I", "-u", f"{tmp_path}/env/bin/mlserver", "start")
    assert command.env["OMP_NUM_THREADS"] == "2"
    assert command.env["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_server_listens_on_loopback_and_writes_into_its_own_folder(tmp_path: Path) -> None:
    _, server, _ = laid_out(tmp_path, parallel_workers=2)
    assert server["host"] == "127.0.0.1"
    assert (server["http_port"], server["grpc_port"], server["metrics_port"]) == (20000, 20001, 20002)
    for folder in ("metrics_dir", "environments_dir"):
        assert Path(server[folder]).is_relative_to(tmp_path)
    assert server["parallel_workers"] == 2
    assert server["debug"] is False, "debugging writes a line for every request"


def test_the_model_knows_its_file_its_threads_and_its_tensors(tmp_path: Path) -> None:
    _, _, model = laid_out(tmp_path)
    assert model["parameters"] == {
        "uri": "/models/toy.onnx",
        "extra": {"threads": 2, "load_time_path": str(tmp_path / "load_time_ns")},
    }
    assert model["inputs"] == [
        {"name": "image", "datatype": "FP32", "shape": [-1, 3, 4]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, 3]},
    ]
    assert [tensor["name"] for tensor in model["outputs"]] == ["scores", "doubled"]


def test_nothing_is_joined_or_handed_on_unless_asked_for(tmp_path: Path) -> None:
    _, server, model = laid_out(tmp_path)
    assert (model["max_batch_size"], model["max_batch_time"], server["parallel_workers"]) == (0, 0.0, 0)


def test_adaptive_batching_reaches_the_model(tmp_path: Path) -> None:
    _, _, model = laid_out(tmp_path, max_batch_size=8, max_batch_time=0.002)
    assert (model["max_batch_size"], model["max_batch_time"]) == (8, 0.002)


@pytest.mark.parametrize(
    ("size", "time_s", "fits"),
    [(0, 0.0, True), (8, 0.002, True), (1, 0.0, True), (8, 0.0, False), (0, 0.002, False), (1, 0.002, False)],
)
def test_half_of_adaptive_batching_is_refused(size: int, time_s: float, fits: bool) -> None:
    assert SERVER.check is not None
    options = SERVER.resolve({"max_batch_size": size, "max_batch_time": time_s})
    if fits:
        SERVER.check(options)
    else:
        with pytest.raises(UsageError, match="max_batch_size of server mlserver is") as caught:
            SERVER.check(options)
        assert "\n" not in str(caught.value)
