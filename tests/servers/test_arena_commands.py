"""What each architecture of the arena would start, and what its deployer writes."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import zoo
from nightbench.errors import UsageError
from nightbench.model import Artifact, Format, Precision
from nightbench.server import OptionValue, ServeRequest
from servers import arena, discover
from servers.arena_triton.layout import models
from servers.triton import SERVER as TRITON

MODEL = zoo.models()["arena"]
NAMES = sorted(arena.ARCHITECTURES)


def request(workdir: Path, name: str, **options: OptionValue) -> ServeRequest:
    spec = discover()[name]
    folder = workdir / "artifact"
    folder.mkdir()
    for stage in MODEL.stages:
        (folder / f"{stage.name}.onnx").touch()
    site_packages = workdir / "env/lib/python3.11/site-packages"
    wheel = site_packages / "pytriton/tritonserver"
    for part in (
        wheel / "backends/python/libtriton_python.so",
        wheel / "python_backend_stubs/3.11/triton_python_backend_stub",
        workdir / "env/lib/libpython3.11.so.1.0",
    ):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    return ServeRequest(
        model=MODEL,
        artifact=Artifact("arena", Format.STAGES, Precision.FP32, "random", folder, "ab" * 32, 1),
        options=spec.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={port: 20000 + at for at, port in enumerate(spec.ports)},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir / "env/bin/python",
        site_packages=site_packages,
    )


def started(asked: ServeRequest, name: str) -> list[dict[str, list[str]]]:
    """The processes, the one that clients ask last."""
    command = discover()[name].command(asked)
    if not command.argv[3].endswith("supervise.py"):
        return [{"argv": list(command.argv), "env": list(command.env)}]
    listed: list[dict[str, list[str]]] = json.loads(Path(command.argv[4]).read_text())
    return listed


def test_the_registry_has_all_three() -> None:
    assert {name for name in discover() if name.startswith("arena")} == set(NAMES)


@pytest.mark.parametrize(("name", "processes"), [("monolith", 1), ("microservices", 2), ("triton", 2)])
def test_the_gateway_is_one_front_with_equal_limits(tmp_path: Path, name: str, processes: int) -> None:
    asked = request(tmp_path, f"arena_{name}")
    found = started(asked, f"arena_{name}")
    assert len(found) == processes
    argv = found[-1]["argv"]
    assert argv[3] == str(discover()[f"arena_{name}"].folder / "serve.py")
    assert {("--host", "127.0.0.1"), ("--port", "20000"), ("--threads", "2")} <= set(pairwise(argv))
    for each in found:
        assert "OMP_NUM_THREADS" in each["env"]


@pytest.mark.parametrize("name", NAMES)
def test_crops_are_joined_only_where_that_is_asked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "joined").mkdir()
    assert "--join-crops" not in started(request(tmp_path / "plain", name), name)[-1]["argv"]
    assert "--join-crops" in started(request(tmp_path / "joined", name, join_crops=True), name)[-1]["argv"]


@pytest.mark.parametrize("name", NAMES)
def test_another_pipeline_is_refused(tmp_path: Path, name: str) -> None:
    other = replace(request(tmp_path, name), model=replace(MODEL, name="other", stages=MODEL.stages[:1]))
    with pytest.raises(UsageError, match="model other has the stages detect, and this server runs detect and classify"):
        discover()[name].command(other)


@pytest.mark.parametrize("joined", [False, True])
def test_triton_has_both_models_and_joins_calls_only_where_that_is_asked_for(tmp_path: Path, joined: bool) -> None:
    asked = request(tmp_path, "arena_triton", dynamic_batching=joined, max_queue_delay_microseconds=300 * joined)
    triton, gateway = (each["argv"] for each in started(asked, "arena_triton"))
    assert ("--triton", "127.0.0.1:20002") in pairwise(gateway)
    assert ("--grpc-port", "20002") in pairwise(triton)
    for stage in MODEL.stages:
        folder = tmp_path / "models" / stage.name
        config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        assert [each.name for each in config.input] == [tensor.name for tensor in stage.inputs]
        assert config.HasField("dynamic_batching") is joined
        assert config.parameters["intra_op_thread_count"].string_value == "2"
        assert config.parameters["inter_op_thread_count"].string_value == "1"
        (link,) = folder.glob("*/model.onnx")
        assert link.readlink() == asked.artifact.path / f"{stage.name}.onnx"


def test_the_one_process_of_onnxruntime_takes_stages_in_a_row_only() -> None:
    fits, models_ = discover()["onnxruntime"].fits, zoo.models()
    assert fits is not None
    fits(models_["mobilenet_v2_image"], Format.STAGES, {})
    fits(models_["mobilenet_v2"], Format.ONNX, {})
    with pytest.raises(UsageError, match="between the stages of arena lies more than handing tensors on"):
        fits(MODEL, Format.STAGES, {})


def test_what_is_written_is_the_deployer_s_own() -> None:
    configs = {each.name: each.config for each in models(MODEL, TRITON.resolve({}), threads=2)}
    files = {name: arena.written_files(discover()[name], configs if name == "arena_triton" else {}) for name in NAMES}
    assert set(files["arena_monolith"]) == {"serve.py", "requirements.in", "Dockerfile"}
    assert set(files["arena_microservices"]) == {*files["arena_monolith"], "classifier.py", "supervise.py"}
    assert set(files["arena_triton"]) == {*files["arena_monolith"], "supervise.py", "detect", "classify"}
    assert set(arena.shared_files()) == {"flow.py", "front.py", "pipeline.py", "stages.py"}


def test_what_runs_in_their_environments_imports_nothing_of_ours() -> None:
    ours = ("nightbench", "servers", "loadgen", "launch", "tasks", "flows", "export")
    folders = [Path(arena.__file__).parent / "arena_common", *(discover()[name].folder for name in NAMES)]
    for path in (path for folder in folders for path in folder.glob("*.py")):
        if path.name not in {"__init__.py", "layout.py"}:
            lines = [line.split() for line in path.read_text().splitlines()]
            imported = [words[1] for words in lines if words[:1] in (["import"], ["from"])]
            assert not [module for module in imported if module.startswith(ours)], path
