"""Images of servers: what ours are made of, and what those that exist as images only would be told."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import servers
from export import zoo
from launch.here import missing
from launch.images import inside as in_image
from nightbench.errors import UsageError
from nightbench.model import Artifact, Format, Precision
from nightbench.server import Command, OptionValue, ServeRequest
from servers import discover
from servers.container import PYTHON, ROOT, SITE_PACKAGES, UID, inside
from servers.official import OFFICIAL
from servers.triton.native import NATIVE
from servers.triton.repository import HAND_ON
from tests.servers.toy import MODEL

IMAGES = sorted(name for name, spec in discover().items() if not spec.process)
SERVERS = Path(servers.__file__).parent
FILES = sorted(SERVERS.glob("*/Dockerfile*"))


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_has_our_layout_drops_its_rights_and_keeps_no_setting(path: Path) -> None:
    text = path.read_text()
    assert "ARG BASE=python:3.11-slim\nFROM ${BASE}\n" in text
    assert text.count("ARG ") == 1, "an argument stays in the history"
    assert f"--uid {UID} server" in text
    assert f"python3 -m venv {PYTHON.parents[1]}\n" in text
    assert f"srv/{path.parent.name}/requirements.txt" in text
    assert "--mount=type=secret,id=pip.conf" in text
    assert f"COPY srv {ROOT}\n" in text
    assert text.endswith("USER server\nWORKDIR /home/server\n")
    # Load comes while it runs, and what is started is the launcher's to say.
    assert "HEALTHCHECK" not in text
    assert "ENTRYPOINT" not in text


def test_every_server_that_is_a_process_has_an_image_of_our_own() -> None:
    ours = {path.parent for path in FILES}
    assert ours == {spec.folder for spec in discover().values() if spec.process and not spec.in_process}


@pytest.mark.parametrize("name", IMAGES)
def test_an_official_image_is_named_once_with_tag_and_digest(name: str) -> None:
    image = discover()[name].image
    assert re.fullmatch(r"[a-z0-9./_-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}", image)
    assert image in {each.ref for each in OFFICIAL.values()}
    elsewhere = [
        path for path in SERVERS.rglob("*.py") if "sha256:0" in path.read_text() and path.name != "official.py"
    ]
    assert not elsewhere


def test_every_official_image_is_a_server_s() -> None:
    assert {each.ref for each in OFFICIAL.values()} == {discover()[name].image for name in IMAGES}


def test_paths_of_the_kit_are_the_image_s_and_no_others() -> None:
    folder = SERVERS / "toy"
    told = inside(
        Command(
            (f"{folder}/serve.py", f"--at={folder}", f"{SERVERS}/arena_common/x.py", f"{SERVERS}/toys/y"),
            {"LIST": f"/a:{folder}/lib:{folder}", "URL": f"file://{folder}/log.xml", "ELSE": f"/x{folder}2"},
        ),
        (folder, SERVERS / "arena_common"),
    )
    assert told.argv == ("/srv/toy/serve.py", "--at=/srv/toy", "/srv/arena_common/x.py", f"{SERVERS}/toys/y")
    assert told.env == {"LIST": "/a:/srv/toy/lib:/srv/toy", "URL": "file:///srv/toy/log.xml", "ELSE": f"/x{folder}2"}


def contained(workdir: Path, name: str, artifact: Path, **options: OptionValue) -> ServeRequest:
    asked = request(workdir, name, artifact, **options)
    return replace(asked, host="0.0.0.0", python=PYTHON, site_packages=SITE_PACKAGES)  # noqa: S104


@pytest.mark.parametrize("name", sorted(path.parent.name for path in FILES))
def test_its_command_names_nothing_of_this_machine_but_what_is_mounted(name: str, tmp_path: Path) -> None:
    spec = next(spec for spec in discover().values() if spec.folder.name == name)
    artifact = tmp_path / "artifact" / "toy.onnx"
    artifact.parent.mkdir()
    artifact.write_bytes(b"a model")
    asked = contained(short := tmp_path / "w", spec.name, artifact)
    short.mkdir()
    if name.startswith("arena"):
        asked = replace(asked, model=zoo.models()["tiny_arena"])
    if name == "torchserve":
        asked = replace(asked, workdir=short)
    command = in_image(spec, spec.command(asked))
    listed = short / "processes.json"
    said = " ".join((*command.argv, *command.env.values(), listed.read_text() if listed.exists() else ""))
    assert str(SERVERS) not in said
    assert sys.prefix not in said
    assert str(PYTHON) in said or str(SITE_PACKAGES) in said


def test_triton_in_its_image_has_the_image_s_backends(tmp_path: Path) -> None:
    command = discover()["triton"].command(contained(tmp_path, "triton", Path("/models/toy.onnx")))
    assert ("--backend-directory", "/opt/backends") in pairwise(command.argv)
    assert command.env["LD_PRELOAD"] == "libjemalloc.so.2"
    assert command.env["PATH"].startswith("/opt/server/bin:")
    assert not (tmp_path / "backends").exists()
    text = (discover()["triton"].folder / "Dockerfile").read_text()
    for backend in (*(name for name, native in NATIVE.items() if native.cpu), HAND_ON):
        assert f" /opt/backends/{backend}/model.py\n" in text


def test_torchserve_s_archive_is_made_without_its_archiver(tmp_path: Path) -> None:
    artifact = tmp_path / "toy.pt"
    artifact.write_bytes(b"a model")
    discover()["torchserve"].command(contained(tmp_path, "torchserve", artifact))
    with ZipFile(tmp_path / "store" / "toy.mar") as archive:
        assert {each.compress_type for each in archive.infolist()} == {ZIP_STORED}
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
        assert archive.read(manifest["serializedFile"]) == b"a model"
        assert archive.read(manifest["handler"]) == (discover()["torchserve"].folder / "serve.py").read_bytes()
        assert json.loads(archive.read(manifest["configFile"]))["handler"]["threads"] == 2


def test_torchserve_s_official_image_has_its_packages_elsewhere(tmp_path: Path) -> None:
    artifact = tmp_path / "toy.pt"
    artifact.write_bytes(b"a model")
    argv = discover()["torchserve-official"].command(request(tmp_path, "torchserve-official", artifact)).argv
    assert ("--python", "/home/venv/bin/python") in pairwise(argv)
    assert argv[0] == "java"


def test_triton_s_official_image_has_native_backends(tmp_path: Path) -> None:
    asked = request(tmp_path, "triton-official", Path("/models/toy.onnx"), device="cuda")
    argv = discover()["triton-official"].command(asked).argv
    assert argv[0] == "tritonserver"
    assert "--backend-directory" not in argv
    config = text_format.Parse((tmp_path / "models/toy/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    with pytest.raises(UsageError, match="take triton"):
        discover()["triton-official"].check(asked.options | {"ensemble": True})  # type: ignore[misc]


def test_vllm_s_official_image_is_told_nothing_of_cpus(tmp_path: Path) -> None:
    command = discover()["vllm-official"].command(request(tmp_path, "vllm-official", Path("/models/llama")))
    assert command.argv[0] == "python3"
    assert not [name for name in command.env if name.startswith("VLLM_CPU_")]


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
