"""What is special about TorchServe: its archive and configuration, and the handler that runs inside its workers."""

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nightbench.errors import DeploymentError
from nightbench.model import Artifact, Format, Precision
from nightbench.server import Command, OptionValue, ServeRequest
from servers.raw_http import signature
from servers.torchserve import SERVER
from tests.servers.raw import BINARY, ITEM_BYTES
from tests.servers.toy import MODEL, inputs, reference

ARCHIVER = """#!{python}
import json, os, sys
given = dict(zip(sys.argv[1:], sys.argv[2:]))
with open(os.path.join(given["--export-path"], given["--model-name"] + ".mar"), "w") as mar:
    json.dump({{"argv": sys.argv[1:], "env": dict(os.environ)}}, mar)
sys.exit({code})
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of a short name, as TorchServe's sockets want it."""
    with TemporaryDirectory(prefix="ts-") as name:
        yield Path(name)


@pytest.fixture
def asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ServeRequest:
    """A request whose interpreter writes down how it was called, and a java on the PATH."""
    java = program(folder / "bin/java", f"#!{sys.executable}\n")
    monkeypatch.setenv("PATH", str(java.parent))
    return request(folder, program(folder / "env/bin/python", ARCHIVER.format(python=sys.executable, code=0)))


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def request(folder: Path, python: Path, **options: OptionValue) -> ServeRequest:
    workdir = folder / "work"
    workdir.mkdir(exist_ok=True)
    return ServeRequest(
        model=MODEL,
        artifact=Artifact("toy", Format.TORCHSCRIPT, Precision.FP32, "random", Path("/models/toy.pt"), "0" * 64, 1),
        options=SERVER.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={port: 20000 + at for at, port in enumerate(SERVER.ports)},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=python,
        site_packages=folder / "env/lib/python3.11/site-packages",
    )


def properties(command: Command) -> dict[str, str]:
    text = Path(command.argv[command.argv.index("-f") + 1]).read_text()
    return dict(line.split("=", 1) for line in text.splitlines())


def test_java_is_the_root_of_its_tree_and_needs_no_token(asked: ServeRequest, folder: Path) -> None:
    command = SERVER.command(asked)
    assert command.argv[0] == str(folder / "bin/java")
    assert {"-ncs", "--disable-token-auth", "-XX:-UsePerfData"} <= set(command.argv)
    assert command.env["OMP_NUM_THREADS"] == "2"
    assert command.env["NIGHTBENCH_LOAD_TIME"] == str(asked.load_time_path)
    (temporary,) = (word.partition("=")[2] for word in command.argv if word.startswith("-Djava.io.tmpdir="))
    assert Path(temporary).is_dir()
    assert Path(temporary).parent == asked.workdir


def test_every_address_is_on_loopback_with_a_port_of_its_own(asked: ServeRequest) -> None:
    given = properties(SERVER.command(asked))
    for name, port in (("inference", "http"), ("management", "management"), ("metrics", "metrics")):
        assert given[f"{name}_address"] == f"http://127.0.0.1:{asked.ports[port]}"
    for name, port in (("grpc_inference", "grpc"), ("grpc_management", "grpc_management")):
        assert given[f"{name}_address"] == "127.0.0.1"
        assert given[f"{name}_port"] == str(asked.ports[port])
    assert given["load_models"] == "toy=toy.mar"
    assert given["disable_system_metrics"] == "true"


def test_bodies_may_be_as_large_as_the_largest_batch(asked: ServeRequest) -> None:
    assert int(properties(SERVER.command(asked))["max_request_size"]) >= 4096 * ITEM_BYTES


def test_the_archive_holds_the_model_as_it_is(asked: ServeRequest) -> None:
    SERVER.command(asked)
    called = json.loads((asked.workdir / "store/toy.mar").read_text())
    given = dict(zip(called["argv"], called["argv"][1:], strict=False))
    assert given["--serialized-file"] == "/models/toy.pt"
    assert given["--archive-format"] == "zip-store"
    # The archiver deletes what bears the model's name in the temporary directory.
    assert Path(called["env"]["TMPDIR"]).parent == asked.workdir
    config = json.loads(Path(given["--config-file"]).read_text())
    assert (config["batchSize"], config["minWorkers"], config["maxWorkers"]) == (1, 1, 1)
    assert config["handler"]["threads"] == 2


def test_options_reach_the_model(asked: ServeRequest, folder: Path) -> None:
    options = {"batch_size": 8, "max_batch_delay": 3, "default_workers_per_model": 2, "job_queue_size": 7}
    SERVER.command(request(folder, asked.python, **options))
    config = json.loads((asked.workdir / "model-config.yaml").read_text())
    names = ("batchSize", "maxBatchDelay", "minWorkers", "maxWorkers", "jobQueueSize")
    assert [config[name] for name in names] == [8, 3, 2, 2, 7]


def test_without_java_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(DeploymentError, match="openjdk-17-jre-headless") as caught:
        SERVER.command(request(folder, folder / "python"))
    assert caught.value.kind == "no_environment"


def test_a_folder_too_deep_for_its_sockets_is_told_of(asked: ServeRequest) -> None:
    deep = asked.workdir / "deep" / ("x" * 90)
    deep.mkdir(parents=True)
    with pytest.raises(DeploymentError, match="set TMPDIR to a folder of a shorter name"):
        SERVER.command(replace(asked, workdir=deep))


def test_a_failing_archiver_is_told_of(asked: ServeRequest, folder: Path) -> None:
    python = program(folder / "env/bin/bad", ARCHIVER.format(python=sys.executable, code=1))
    with pytest.raises(DeploymentError, match=r"no archive of /models/toy\.pt"):
        SERVER.command(request(folder, python))


class Context:
    """What TorchServe hands to a handler, as far as ours looks."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        self.model_yaml_config = {
            "batchSize": batch_size,
            "handler": {"threads": 1, "max_batch": 4096, **signature(MODEL)},
        }
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = {"model": {"serializedFile": "toy.pt"}}
        self.counted: dict[str, int] = {}
        self.metrics = SimpleNamespace(add_counter=self._count)
        self.headers: list[dict[str, Any]] = []
        self.status: dict[int, int] = {}

    def _count(self, name: str, value: int) -> None:
        self.counted[name] = self.counted.get(name, 0) + value

    def get_all_request_header(self, index: int) -> dict[str, Any]:
        return self.headers[index]

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        self.status[index] = code

    def set_response_content_type(self, index: int, value: str) -> None:
        self.headers[index]["answered"] = value


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("torchserve_handler", SERVER.folder / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("NIGHTBENCH_LOAD_TIME", str(tmp_path / "load_time_ns"))
    # The real one sets this process's threads, once and for good.
    monkeypatch.setattr(module, "load", lambda artifact, threads: lambda arrays: list(reference(*arrays)))
    return module


def ask(handler: ModuleType, context: Context, sent: Sequence[tuple[bytes, str, str]]) -> list[bytes | str]:
    """Bodies with their content type and X-Batch, as one batch of TorchServe's."""
    context.headers = [{"body": {"content-type": kind}, "x-batch": batch} for _, kind, batch in sent]
    answers: list[bytes | str] = handler.Served(context).answers([{"body": bytearray(b)} for b, _, _ in sent], context)
    return answers


def test_requests_of_a_batch_run_together_and_get_their_own_answers(handler: ModuleType, tmp_path: Path) -> None:
    context = Context(tmp_path, batch_size=8)
    tensors = [inputs(batch, seed=batch) for batch in (1, 3, 2)]
    sent = [(image.tobytes() + ids.tobytes(), BINARY, str(len(ids))) for image, ids in tensors]
    sent.insert(1, (b"short", BINARY, "1"))
    answers = ask(handler, context, sent)
    assert context.status == {1: 400}
    assert answers.pop(1) == f"the body has 5 bytes; a batch of 1 has {ITEM_BYTES}"
    for (image, ids), answer in zip(tensors, answers, strict=True):
        assert isinstance(answer, bytes)
        scores, doubled = reference(image, ids)
        np.testing.assert_allclose(np.frombuffer(answer, "<f4", scores.size).reshape(scores.shape), scores, atol=1e-5)
        np.testing.assert_array_equal(np.frombuffer(answer, "<i8", offset=scores.nbytes).reshape(ids.shape), doubled)
    assert context.counted == {"model_executions_total": 1, "model_requests_total": 3}
    assert int((tmp_path / "load_time_ns").read_text()) > 0


class PredictionError(Exception):
    """Stands in for the one exception that TorchServe makes an error of the client's of."""

    def __init__(self, message: str, error_code: int) -> None:
        super().__init__(message)
        self.error_code = error_code


def ask_grpc(handler: ModuleType, context: Context, sent: Sequence[dict[str, bytes]]) -> list[bytes | str]:
    """Parameters by name, as gRPC brings them: without headers, and all of no content type."""
    context.headers = [{name: {"content-type": ""} for name in each} for each in sent]
    requests = [{name: bytearray(value) for name, value in each.items()} for each in sent]
    answers: list[bytes | str] = handler.Served(context).answers(requests, context)
    return answers


def test_grpc_gets_the_same_bytes_as_http(handler: ModuleType, tmp_path: Path) -> None:
    image, ids = inputs(3)
    body = image.tobytes() + ids.tobytes()
    over_http = ask(handler, Context(tmp_path, batch_size=1), [(body, BINARY, "3")])
    assert ask_grpc(handler, Context(tmp_path, batch_size=1), [{"body": body, "X-Batch": b"3"}]) == over_http


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({}, "the parameter 'body' is missing"),
        ({"body": bytes(ITEM_BYTES)}, "X-Batch is ''"),
        ({"body": bytes(ITEM_BYTES), "X-Batch": b"\xff"}, "X-Batch is "),
        ({"body": bytes(ITEM_BYTES), "X-Batch": b"2"}, "the body has 72 bytes; a batch of 2 has 144"),
    ],
)
def test_what_does_not_fit_is_an_error_over_grpc(
    handler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: dict[str, bytes], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "ts", ModuleType("ts"))
    monkeypatch.setitem(sys.modules, "ts.utils", ModuleType("ts.utils"))
    monkeypatch.setitem(sys.modules, "ts.utils.util", SimpleNamespace(PredictionException=PredictionError))
    with pytest.raises(PredictionError) as caught:
        ask_grpc(handler, Context(tmp_path, batch_size=1), [sent])
    assert str(caught.value).startswith(said)
    assert caught.value.error_code == 400


def test_what_does_not_fit_spoils_no_other_over_grpc(handler: ModuleType, tmp_path: Path) -> None:
    image, ids = inputs(1)
    good = {"body": image.tobytes() + ids.tobytes(), "X-Batch": b"1"}
    first, second = ask_grpc(handler, Context(tmp_path, batch_size=8), [{"body": b"short", "X-Batch": b"1"}, good])
    assert first == b""
    assert isinstance(second, bytes)
    np.testing.assert_allclose(np.frombuffer(second, "<f4", 5), reference(image, ids)[0][0], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "batch", "said"),
    [
        ("application/json", "1", "Content-Type is 'application/json'"),
        (BINARY, "", "X-Batch is ''"),
        (BINARY, "two", "X-Batch is 'two'"),
        (BINARY, "0", "X-Batch is '0'"),
        (BINARY, "9" * 30, "X-Batch is '999"),
        (BINARY, "2", "the body has 72 bytes; a batch of 2 has 144"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    handler: ModuleType, tmp_path: Path, kind: str, batch: str, said: str
) -> None:
    context = Context(tmp_path, batch_size=1)
    (answer,) = ask(handler, context, [(bytes(ITEM_BYTES), kind, batch)])
    assert context.status == {0: 400}
    assert isinstance(answer, str)
    assert answer.startswith(said)
    assert context.counted == {}
