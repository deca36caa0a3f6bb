"""What each server would start, without starting it."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from nightbench.model import Artifact, Precision
from nightbench.server import OptionValue, ServeRequest
from servers import discover
from tests.servers.toy import MODEL


def request(workdir: Path, name: str, **options: OptionValue) -> ServeRequest:
    spec = discover()[name]
    artifact = Artifact("toy", spec.formats[0], Precision.FP32, "random", Path("/models/toy.onnx"), "0" * 64, 1)
    return ServeRequest(
        model=MODEL,
        artifact=artifact,
        options=spec.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={port: 20000 + at for at, port in enumerate(spec.ports)},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir / "env/bin/python",
        site_packages=workdir / "env/lib/python3.11/site-packages",
    )


def flags(argv: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in pairwise(argv) if name.startswith("--")}


@pytest.mark.parametrize("name", ["fastapi", "flask", "onnxruntime"])
def test_a_baseline_runs_isolated_with_all_it_needs(tmp_path: Path, name: str) -> None:
    asked = request(tmp_path, name)
    command = discover()[name].command(asked)
    script = str(discover()[name].folder / "serve.py")
    assert command.argv[:4] == (str(asked.python), "-I", "-u", script)
    given = flags(command.argv)
    assert given["--artifact"] == "/models/toy.onnx"
    assert (given["--host"], given["--port"]) == ("127.0.0.1", "20000")
    assert given["--threads"] == command.env["OMP_NUM_THREADS"] == "2"
    assert given["--load-time"] == str(asked.load_time_path)
    assert json.loads(Path(given["--signature"]).read_text()) == {
        "inputs": [
            {"name": "image", "dtype": "<f4", "shape": [3, 4]},
            {"name": "ids", "dtype": "<i8", "shape": [3]},
        ],
        "outputs": [
            {"name": "scores", "dtype": "<f4", "shape": [5]},
            {"name": "doubled", "dtype": "<i8", "shape": [3]},
        ],
    }


@pytest.mark.parametrize(
    ("name", "option", "value", "flag"),
    [
        ("fastapi", "max_concurrency", 3, "--max-concurrency"),
        ("fastapi", "max_batch_size", 16, "--max-batch-size"),
        ("fastapi", "batch_timeout_ms", 2.5, "--batch-timeout-ms"),
        ("flask", "workers", 2, "--gunicorn-workers"),
        ("flask", "threads", 4, "--gunicorn-threads"),
        ("onnxruntime", "max_concurrency", 3, "--max-concurrency"),
        ("onnxruntime", "graph_optimization_level", "basic", "--graph-optimization-level"),
        ("onnxruntime", "provider", "cuda", "--provider"),
        ("onnxruntime", "intra_op_num_threads", 3, "--intra-op-num-threads"),
        ("onnxruntime", "inter_op_num_threads", 3, "--inter-op-num-threads"),
        ("onnxruntime", "execution_mode", "parallel", "--execution-mode"),
    ],
)
def test_an_option_reaches_its_server(tmp_path: Path, name: str, option: str, value: OptionValue, flag: str) -> None:
    command = discover()[name].command(request(tmp_path, name, **{option: value}))
    assert flags(command.argv)[flag] == str(value)


def test_defaults_keep_servers_comparable() -> None:
    for name in ("fastapi", "onnxruntime"):
        assert discover()[name].resolve({})["max_concurrency"] == 1
    assert discover()["fastapi"].resolve({})["max_batch_size"] == 1
    assert discover()["onnxruntime"].resolve({})["intra_op_num_threads"] == 0
    assert discover()["flask"].resolve({}) == {"workers": 1, "threads": 1}
    assert discover()["triton"].resolve({})["dynamic_batching"] is False
    assert discover()["triton"].resolve({})["instance_count"] == 1


def test_nothing_is_started_in_process(tmp_path: Path) -> None:
    asked = request(tmp_path, "pytorch")
    command = discover()["pytorch"].command(asked)
    assert command.argv == (str(asked.python),)
    assert command.env["OMP_NUM_THREADS"] == "2"
