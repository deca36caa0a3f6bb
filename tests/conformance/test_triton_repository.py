"""The tracked ``model_repository/``, loaded by the real tritonserver: what it says of itself there is what it does.

The tiny models of the zoo, which export in seconds; with ``--all-models`` all that Triton serves.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2

from export import zoo
from export.isolated import Prepared, prepare
from export.repository import POOL_COUNT, REPOSITORY, SERVING, fill, served_as
from loadgen.job import Job
from loadgen.run import run_job
from nightbench.load import ClosedLoop
from nightbench.model import Precision
from nightbench.server import Endpoint, Protocol, ServeRequest
from servers.triton import SERVER
from servers.triton.layout import serve
from servers.triton.repository import version_of
from tests.conformance.checks import check, of
from tests.conformance.subject import TIMEOUT_S, Subject, assert_all_right
from tests.servers.running import Running, free_ports, running

MODELS = {name: spec for name, spec in zoo.models().items() if served_as(spec)}
TINY = [name for name in MODELS if "tiny" in name]

triton = of(lambda spec: spec.name == "triton")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "model" in metafunc.fixturenames:
        everything = metafunc.config.getoption("--all-models", default=False)
        metafunc.parametrize("model", list(MODELS) if everything else TINY)


@pytest.fixture(scope="module")
def server(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """Triton on a copy of the tracked files, with no model loaded but the first; and the repository."""
    folder = tmp_path_factory.mktemp("repository")
    repository = folder / "models"
    for config in REPOSITORY.glob("*/config.pbtxt"):
        (repository / config.parent.name).mkdir(parents=True)
        shutil.copyfile(config, repository / config.parent.name / config.name)
    first = MODELS[TINY[0]]
    fill(repository, first, subject.settings.artifacts, folder / "export.log")
    workdir = Path(mkdtemp(prefix="nightbench-test-triton-", dir=folder))
    request = ServeRequest(
        model=first,
        artifact=prepared(subject, first.name).artifact,
        options=SERVER.resolve({"model_control_mode": "explicit"}),
        threads=1,
        host="127.0.0.1",
        ports=free_ports(SERVER.ports),
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=subject.environment.python,
        site_packages=subject.environment.site_packages,
    )
    by_hand = replace(SERVER, command=lambda asked: serve(asked, repository))
    with running(request, by_hand, "/v2/health/ready") as started:
        yield started, repository


def prepared(subject: Subject, name: str) -> Prepared:
    """What `fill` exported, from its cache."""
    spec, file_format = MODELS[name], served_as(MODELS[name])
    assert file_format is not None
    log = subject.folder / "repository.log"
    return prepare(
        spec,
        file_format,
        Precision.FP32,
        spec.default_weights,
        cache=subject.settings.artifacts,
        pool_count=POOL_COUNT,
        log=log,
    )


def tracked(name: str) -> Any:
    return text_format.Parse((REPOSITORY / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def steps_of(config: Any) -> list[str]:
    """The models that answer: itself, or the steps of an ensemble."""
    return [step.model_name for step in config.ensemble_scheduling.step] or [config.name]


@triton
@check("repository")
def test_a_tracked_model_serves_as_its_configuration_says(
    subject: Subject, server: tuple[Running, Path], model: str
) -> None:
    started, repository = server
    fill(repository, MODELS[model], subject.settings.artifacts, subject.folder / "repository.log")
    config = tracked(model)
    assert (repository / model / "config.pbtxt").read_text() == (REPOSITORY / model / "config.pbtxt").read_text()
    exported = prepared(subject, model)
    version = str(version_of(exported.artifact.sha256))
    with closing(InferenceServerClient(f"127.0.0.1:{started.port('grpc')}")) as client:
        client.load_model(model)
        index = {each.name: (each.version, each.state) for each in client.get_model_repository_index().models}
        for name in {model, *steps_of(config)}:
            assert index[name] == (version, "READY")
            assert_is(client, name, version)
        for name in steps_of(config):
            (counted,) = client.get_inference_statistics(name).model_stats
            assert counted.inference_count == SERVING["model_warmup"]
        assert_all_right(answers(subject, started, model, exported), POOL_COUNT)
        client.unload_model(model, unload_dependents=True)
        ready = [each.name for each in client.get_model_repository_index().models if each.state == "READY"]
        assert not {model, *steps_of(config)} & {*ready}


def assert_is(client: Any, name: str, version: str) -> None:
    """What Triton tells of a model is what the tracked file says."""
    config, metadata = tracked(name), client.get_model_metadata(name)
    assert list(metadata.versions) == [version]
    for said, told in ((config.input, metadata.inputs), (config.output, metadata.outputs)):
        assert [(each.name, each.datatype, list(each.shape)) for each in told] == [
            (each.name, model_config_pb2.DataType.Name(each.data_type).removeprefix("TYPE_"), [-1, *each.dims])
            for each in said
        ]
    served = client.get_model_config(name).config
    for field in ("name", "backend", "platform", "max_batch_size", "version_policy", "input", "output", "parameters"):
        if field != "platform" or config.platform:
            assert getattr(served, field) == getattr(config, field)
    assert served.HasField("dynamic_batching") == config.HasField("dynamic_batching")
    assert [each.count for each in served.instance_group] == [each.count for each in config.instance_group]
    assert [(each.name, each.count) for each in served.model_warmup] == [
        (each.name, each.count) for each in config.model_warmup
    ]


def answers(subject: Subject, started: Running, name: str, exported: Prepared) -> Any:
    """What the load engine says of one pass over the pool, every answer compared with PyTorch's."""
    spec = MODELS[name]
    return run_job(
        Job(
            endpoint=Endpoint(Protocol.KSERVE_GRPC, "127.0.0.1", started.port("grpc"), name),
            load=ClosedLoop(2),
            batch=4,
            inputs=spec.inputs,
            outputs=spec.outputs,
            pool=exported.pool.path,
            tolerance=spec.tolerance,
            duration_s=180.0,
            samples=subject.folder / "samples.npz",
            timeout_s=TIMEOUT_S,
            verify_every=1,
            max_requests=POOL_COUNT,
        )
    )
