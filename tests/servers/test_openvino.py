"""OpenVINO's options on their way to the runtime, and what its Model Server is given to serve."""

import json
from contextlib import closing
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path

import pytest

from export.formats.base import Work, exporter
from nightbench.model import Artifact, Format, Precision
from nightbench.server import Command, OptionValue, ServeRequest
from servers.openvino import SERVER
from servers.openvino_model_server import SERVER as MODEL_SERVER
from servers.openvino_model_server.config import config
from tests.servers.raw import ask
from tests.servers.running import running, serve_request
from tests.servers.toy import MODEL, export_onnx


def request(workdir: Path, **options: OptionValue) -> ServeRequest:
    source = workdir / "abc.onnx"
    source.write_bytes(b"a model")
    return ServeRequest(
        model=MODEL,
        artifact=Artifact("toy", Format.ONNX, Precision.FP32, "random", source, "0" * 64, 1),
        options=SERVER.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={"http": 20000, "grpc": 20001},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir / "env/bin/python",
        site_packages=workdir / "env/lib",
    )


def flags(command: Command) -> dict[str, str]:
    return {name: value for name, value in pairwise(command.argv) if name.startswith("--")}


def test_it_runs_one_prediction_on_one_stream_with_the_suites_threads(tmp_path: Path) -> None:
    given = flags(SERVER.command(request(tmp_path)))
    assert (given["--threads"], given["--num-streams"], given["--max-concurrency"]) == ("2", "1", "1")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_concurrency", 3),
        ("num_streams", 2),
        ("performance_hint", "throughput"),
    ],
)
def test_an_option_reaches_the_server(tmp_path: Path, option: str, value: OptionValue) -> None:
    given = flags(SERVER.command(request(tmp_path, **{option: value})))
    assert given[f"--{option.replace('_', '-')}"] == str(value)


def test_the_model_server_runs_the_same_bytes_with_the_same_settings(tmp_path: Path) -> None:
    given = flags(MODEL_SERVER.command(request(tmp_path)))
    assert (given["--port"], given["--rest_port"]) == ("20001", "20000")
    assert (tmp_path / "models/toy/1/model.onnx").read_bytes() == b"a model"
    assert json.loads(Path(given["--config_path"]).read_text()) == {
        "model_config_list": [
            {
                "config": {
                    "name": "toy",
                    "base_path": f"{tmp_path}/models/toy",
                    "target_device": "CPU",
                    "nireq": 1,
                    "plugin_config": {
                        "INFERENCE_NUM_THREADS": "2",
                        "INFERENCE_PRECISION_HINT": "f32",
                        "ENABLE_CPU_PINNING": False,
                        "NUM_STREAMS": "1",
                    },
                }
            }
        ],
        "monitoring": {"metrics": {"enable": True}},
    }


def test_the_model_server_gets_both_files_of_an_ir(tmp_path: Path) -> None:
    asked = request(tmp_path)
    folder = tmp_path / "ir"
    folder.mkdir()
    for name in ("model.xml", "model.bin"):
        (folder / name).write_text(name)
    MODEL_SERVER.command(replace(asked, artifact=replace(asked.artifact, format=Format.OPENVINO, path=folder)))
    served = tmp_path / "models/toy/1"
    assert {each.name: each.read_text() for each in served.iterdir()} == {
        "model.xml": "model.xml",
        "model.bin": "model.bin",
    }


def test_it_serves_its_own_ir(tmp_path: Path) -> None:
    source, path = tmp_path / "toy.onnx", tmp_path / "ir"
    export_onnx(source)
    # Only the source is asked for: an IR is made from ONNX alone.
    work = Work(MODEL, "random", Precision.FP32, partial(pytest.fail), dict, lambda form, at: source, {})
    exporter(Format.OPENVINO).export(work, path)
    artifact = Artifact("toy", Format.OPENVINO, Precision.FP32, "random", path, "0" * 64, 1)
    asked = serve_request(SERVER, artifact, tmp_path)
    with running(asked, SERVER, "/healthz") as server, closing(HTTPConnection("127.0.0.1", server.port())) as own:
        for batch in (1, 3):
            ask(own, batch)


def test_a_hint_stands_in_for_a_number_of_streams_but_never_beside_one(tmp_path: Path) -> None:
    settings = config(request(tmp_path, num_streams=0, performance_hint="throughput"))
    plugin = settings["model_config_list"][0]["config"]["plugin_config"]
    assert plugin["PERFORMANCE_HINT"] == "THROUGHPUT"
    assert "NUM_STREAMS" not in plugin
