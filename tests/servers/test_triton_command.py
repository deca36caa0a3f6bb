"""What a deployment of Triton lays out and starts, without starting it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from nightbench.errors import DeploymentError, UsageError
from nightbench.model import Artifact, Format, Precision
from nightbench.server import OptionValue, ServeRequest
from servers.triton import SERVER
from servers.triton.native import NATIVE
from tests.servers.toy import MODEL

SHA256 = "0123456789abcdef" * 4
VERSION = str(0x0123456789ABCDE)


def request(workdir: Path, file_format: Format = Format.ONNX, **options: OptionValue) -> ServeRequest:
    return ServeRequest(
        model=MODEL,
        artifact=Artifact("toy", file_format, Precision.FP32, "random", Path("/models/toy"), SHA256, 1),
        options=SERVER.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={port: 20000 + at for at, port in enumerate(SERVER.ports)},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir / "env/bin/python",
        site_packages=workdir / "env/lib/python3.11/site-packages",
    )


def flags(argv: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in pairwise(argv) if name.startswith("--")}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The parts of the pytriton wheel that are looked for, empty; and a libpython beside the interpreter."""
    library = tmp_path / "env/lib"
    root = library / "python3.11/site-packages/pytriton/tritonserver"
    for part in (
        "backends/python/libtriton_python.so",
        "python_backend_stubs/3.11/triton_python_backend_stub",
        "python_backend_stubs/3.12/triton_python_backend_stub",
    ):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).touch()
    (library / "libpython3.11.so.1.0").touch()
    return root


def test_it_gets_a_repository_backends_and_loopback_addresses(tmp_path: Path, wheel: Path) -> None:
    asked = request(tmp_path, max_queue_size=64, max_batch_size=8)
    command = SERVER.command(asked)
    given = flags(command.argv)
    assert command.argv[0] == str(wheel / "bin/tritonserver")
    for port, number in asked.ports.items():
        assert given[f"--{port}-address"] == "127.0.0.1"
        assert given[f"--{port}-port"] == str(number)
    assert f"--backend-config=python,shm-region-prefix-name={tmp_path.name}_" in command.argv
    assert given["--rate-limit"] == "off"
    assert command.env["PATH"].startswith(f"{tmp_path}/env/bin:")
    assert str(tmp_path / "env/lib") in command.env["LD_LIBRARY_PATH"].split(":")

    backends = Path(given["--backend-directory"])
    assert {path.name for path in (backends / "python").iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_stub",
    }
    assert not any(path.is_symlink() for path in backends.rglob("*"))  # Triton refuses a runtime behind a link
    stood_in = {path.name for path in backends.iterdir()} - {"python"}
    assert {name for name in NATIVE if name in stood_in} == {"onnxruntime", "pytorch"}
    for name in stood_in:
        assert (backends / name / "model.py").read_text() == (SERVER.folder / "model.py").read_text()


@pytest.mark.parametrize(
    ("file_format", "backend", "filename"),
    [(Format.ONNX, "onnxruntime", "model.onnx"), (Format.TORCHSCRIPT, "pytorch", "model.pt")],
)
def test_the_model_lies_where_the_native_backend_would_look_for_it(
    tmp_path: Path, wheel: Path, file_format: Format, backend: str, filename: str
) -> None:
    command = SERVER.command(request(tmp_path, file_format, max_batch_size=8, max_queue_size=64))
    model = Path(flags(command.argv)["--model-repository"]) / "toy"
    config = (model / "config.pbtxt").read_text()
    assert f'backend: "{backend}"' in config
    assert "max_batch_size: 8" in config
    assert "max_queue_size: 64" in config
    assert f"specific {{ versions: [ {VERSION} ] }}" in config
    assert (model / VERSION / filename).readlink() == Path("/models/toy")


def test_it_serves_what_it_is_told_to_where_clients_control_it(tmp_path: Path, wheel: Path) -> None:
    given = flags(SERVER.command(request(tmp_path, model_control_mode="explicit")).argv)
    assert given["--model-control-mode"] == "explicit"
    assert given["--load-model"] == "toy"


def test_an_artifact_with_other_tensors_is_refused_before_anything_starts(tmp_path: Path, wheel: Path) -> None:
    scores, doubled = MODEL.outputs

    class Told(Artifact):
        """With room for what its export read."""

    asked = request(tmp_path)
    held = asked.artifact
    told = Told(held.model, held.format, held.precision, held.weights, held.path, held.sha256, held.size_bytes)
    object.__setattr__(told, "inputs", MODEL.inputs)
    object.__setattr__(told, "outputs", (replace(scores, shape=(6,)), doubled))
    with pytest.raises(UsageError, match=r"spec says the outputs scores FP32\[5\].* has scores FP32\[6\]"):
        SERVER.command(replace(asked, artifact=told))


def test_without_a_backend_for_this_python_it_says_which_it_has(tmp_path: Path, wheel: Path) -> None:
    (wheel / "python_backend_stubs/3.11/triton_python_backend_stub").unlink()
    (wheel / "python_backend_stubs/3.11").rmdir()
    with pytest.raises(DeploymentError, match=r"no Python backend for python3\.11; it has 3\.12") as caught:
        SERVER.command(request(tmp_path))
    assert caught.value.kind == "no_environment"
