"""Servers that exist as images only: what they would be told. None of them has run."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from launch.here import missing
from nightbench.errors import UsageError
from nightbench.model import Artifact, Format, Precision
from nightbench.server import OptionValue, ServeRequest
from servers import discover
from tests.servers.toy import MODEL

IMAGES = sorted(name for name, spec in discover().items() if not spec.process)
FILES = sorted({path for spec in discover().values() for path in spec.folder.glob("Dockerfile*")})


def request(workdir: Path, name: str, artifact: Path, **options: OptionValue) -> ServeRequest:
    spec = discover()[name]
    return ServeRequest(
        model=MODEL,
        artifact=Artifact("toy", Format.ONNX, Precision.FP32, "random", artifact, "0" * 64, 1),
        options=spec.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={port: 20000 + at for at, port in enumerate(spec.ports)},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir,
        site_packages=workdir,
    )


def test_they_are_listed_with_why_they_cannot_run_here() -> None:
    assert {"tensorflow-serving", "tensorrt", "nim", "sglang"} <= set(IMAGES)
    for name in IMAGES:
        assert any("image only" in reason for reason in missing(discover()[name]))
        assert "Written, not run" in (discover()[name].folder / "__init__.py").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_dockerfile_says_it_has_not_run_and_drops_its_rights(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# Written, not run")
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)
    if "@sha256:" in text:
        assert "docker buildx imagetools inspect" in text


@pytest.mark.parametrize("name", IMAGES)
def test_an_official_image_is_named_by_digest(name: str) -> None:
    spec = discover()[name]
    named = spec.image or (spec.folder / "Dockerfile").read_text()
    assert re.search(r"@sha256:[0-9a-f]{64}$", named, re.MULTILINE)


def saved_model(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


def test_tensorflow_serving_gets_version_1_and_the_suites_threads(tmp_path: Path) -> None:
    spec = discover()["tensorflow-serving"]
    command = spec.command(request(tmp_path, "tensorflow-serving", saved_model(tmp_path)))
    base = tmp_path / "models" / "toy"
    assert (base / "1" / "saved_model.pb").read_bytes() == b"graph"
    assert {"--port=20000", "--rest_api_port=20001", "--model_name=toy", f"--model_base_path={base}"} <= {*command.argv}
    assert {"--tensorflow_intra_op_parallelism=2", "--tensorflow_inter_op_parallelism=1"} <= {*command.argv}
    assert not [flag for flag in command.argv if "batching" in flag]
    monitoring = next(flag for flag in command.argv if flag.startswith("--monitoring_config_file="))
    assert spec.metrics is not None
    assert spec.metrics.path in Path(monitoring.partition("=")[2]).read_text()


def test_tensorflow_serving_batches_by_a_file_of_its_own(tmp_path: Path) -> None:
    asked = request(
        tmp_path, "tensorflow-serving", saved_model(tmp_path), enable_batching=True, batch_timeout_micros=500
    )
    argv = discover()["tensorflow-serving"].command(asked).argv
    assert "--enable_batching=true" in argv
    assert f"--batching_parameters_file={tmp_path}/batching.pbtxt" in argv
    assert (tmp_path / "batching.pbtxt").read_text().splitlines() == [
        "max_batch_size { value: 32 }",
        "batch_timeout_micros { value: 500 }",
        "num_batch_threads { value: 1 }",
        "max_enqueued_batches { value: 100 }",
    ]


def test_tensorflow_serving_refuses_what_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder of a SavedModel"):
        discover()["tensorflow-serving"].command(request(tmp_path, "tensorflow-serving", tmp_path / "toy.onnx"))


def test_tensorrt_builds_in_fp32_for_every_batch_and_then_becomes_triton(tmp_path: Path) -> None:
    asked = request(tmp_path, "tensorrt", Path("/models/toy.onnx"), max_batch_size=8)
    argv = discover()["tensorrt"].command(asked).argv
    cut = argv.index("--")
    build, serve = argv[:cut], argv[cut + 1 :]
    plan = tmp_path / "models" / "toy" / "1" / "model.plan"
    assert {"--onnx=/models/toy.onnx", f"--saveEngine={plan}", "--noTF32"} <= {*build}
    assert {"--minShapes=image:1x3x4,ids:1x3", "--maxShapes=image:8x3x4,ids:8x3"} <= {*build}
    assert ("--model-repository", str(tmp_path / "models")) in pairwise(serve)
    assert ("--http-address", "127.0.0.1") in pairwise(serve)
    text = (tmp_path / "models" / "toy" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.backend, config.max_batch_size) == ("tensorrt", 8)


def test_tensorrt_has_triton_s_options_that_make_sense_for_it() -> None:
    names = {option.name for option in discover()["tensorrt"].options}
    assert "dynamic_batching" in names
    assert not names & {"ensemble", "model_control_mode"}


def test_start_runs_one_program_and_becomes_the_other(tmp_path: Path) -> None:
    start = [sys.executable, "-I", str(discover()["tensorrt"].folder / "start.py")]
    made = tmp_path / "engine"
    touch = [sys.executable, "-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()", str(made)]
    done = subprocess.run([*start, *touch, "--", "/bin/ls", str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "engine\n"
    failed = subprocess.run([*start, "/bin/false", "--", "/bin/echo"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "/bin/false ended with code 1\n"


def test_nim_is_pointed_at_the_local_folder_and_told_to_fetch_nothing(tmp_path: Path) -> None:
    env = discover()["nim"].command(request(tmp_path, "nim", Path("/models/llama"), max_num_seqs=4)).env
    assert (env["NIM_MODEL_PATH"], env["NIM_SERVED_MODEL_NAME"], env["NIM_SERVER_PORT"]) == (
        "/models/llama",
        "toy",
        "20000",
    )
    assert "--max-num-seqs 4" in env["NIM_PASSTHROUGH_ARGS"]
    assert not {"NGC_API_KEY", "HF_TOKEN"} & env.keys()


@pytest.mark.parametrize("switch", [True, False])
def test_sglang_gets_its_own_flags(tmp_path: Path, switch: bool) -> None:
    asked = request(tmp_path, "sglang", Path("/models/llama"), disable_radix_cache=switch)
    argv = discover()["sglang"].command(asked).argv
    assert ("--model-path", "/models/llama") in pairwise(argv)
    assert ("--host", "127.0.0.1") in pairwise(argv)
    assert ("--max-running-requests", "128") in pairwise(argv)
    assert ("--disable-radix-cache" in argv) is switch
