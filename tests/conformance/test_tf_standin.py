"""TensorFlow Serving as far as it can be had here: its layout, command line and protocols, before a stand-in.

There is no binary of it in any package registry. The stand-in speaks the real ``tensorflow-serving-api`` and runs the
exported SavedModel with TensorFlow; the launcher, the prober, the codecs and the load engine are the real ones.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path

import pytest

from export import zoo
from export.environments import ENVIRONMENTS
from export.isolated import Prepared, prepare
from launch.environment import Environment, ensure_environment
from nightbench.model import Format, ModelSpec, Precision
from nightbench.server import Command, Protocol, ServeRequest
from servers.tensorflow_serving import SERVER
from tests.conformance import test_answers, test_bad_requests
from tests.conformance.subject import POOL_COUNT, Subject, assert_all_right

SCRIPT = Path(__file__).parents[1] / "servers" / "tf_standin.py"
BOTH = tuple(SERVER.protocols)
BATCHES = (1, 4, 8)


def command(request: ServeRequest) -> Command:
    """What the container would run, by the stand-in."""
    told = SERVER.command(request)
    return Command((str(request.python), str(SCRIPT), *told.argv[1:]), {**told.env, "CUDA_VISIBLE_DEVICES": ""})


class StandIn(Subject):
    """The server under its own name, with the exporter's environment in place of an image."""

    @cached_property
    def environment(self) -> Environment:
        root, log = self.settings.server_environments, self.folder / "environment.log"
        return ensure_environment(ENVIRONMENTS["tensorflow"], root, "pinned", print, log)

    @property
    def model(self) -> ModelSpec:
        return zoo.models()["tiny_cnn"]

    def prepared(self, format_: Format) -> Prepared:
        if format_ not in self._prepared:
            self._prepared[format_] = self.exported(self.model, self.settings.artifacts)
        return self._prepared[format_]

    def exported(self, model: ModelSpec, cache: Path) -> Prepared:
        return prepare(
            model,
            Format.SAVEDMODEL,
            Precision.FP32,
            "random",
            cache=cache,
            pool_count=POOL_COUNT,
            batches=BATCHES,
            log=self.folder / "export.log",
            tools={"tensorflow": self.environment.python},
        )


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    found = StandIn(replace(SERVER, process=True, command=command), tmp_path_factory.mktemp("tf"))
    yield found
    found.end()


def test_it_comes_up(stand_in: StandIn) -> None:
    test_answers.test_it_starts_and_is_ready(stand_in)


@pytest.mark.parametrize("protocol", BOTH)
def test_its_answers_are_those_of_pytorch(stand_in: StandIn, protocol: Protocol) -> None:
    assert stand_in.batches == (1, 8)
    test_answers.test_its_answers_are_those_of_pytorch(stand_in, protocol)


@pytest.mark.parametrize("protocol", BOTH)
def test_a_sweep_through_the_engine(stand_in: StandIn, protocol: Protocol) -> None:
    for concurrent in (1, 2, 4):
        for batch in (1, 8):
            result = stand_in.loaded(stand_in.endpoint(protocol), batch, concurrent, 4 * POOL_COUNT)
            assert_all_right(result, 4 * POOL_COUNT)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("kind", ["malformed", "wrong shape", "wrong dtype"], ids=["garbage", "shape", "dtype"])
def test_what_it_refuses_is_seen_as_refused(stand_in: StandIn, protocol: Protocol, kind: str) -> None:
    test_bad_requests.test_it_refuses_and_serves_on(stand_in, protocol, kind)


def _get(stand_in: StandIn, path: str) -> bytes:
    endpoint = stand_in.endpoint(Protocol.TFSERVING_REST)
    connection = HTTPConnection(endpoint.host, endpoint.port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    connection.close()
    return body


def test_the_signature_is_that_of_the_spec(stand_in: StandIn) -> None:
    told = json.loads(_get(stand_in, "/v1/models/tiny_cnn/metadata"))
    signatures = told["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default"}
    found = signatures["serving_default"]
    assert found["method_name"] == "tensorflow/serving/predict"
    for tensors, specs in ((found["inputs"], stand_in.model.inputs), (found["outputs"], stand_in.model.outputs)):
        assert {name: each["dtype"] for name, each in tensors.items()} == {spec.name: "DT_FLOAT" for spec in specs}
        sizes = {name: [int(dim["size"]) for dim in each["tensor_shape"]["dim"]] for name, each in tensors.items()}
        assert sizes == {spec.name: [-1, *spec.shape] for spec in specs}
    assert told["model_spec"]["version"] == "1"


def test_its_metrics_page_counts_what_was_served(stand_in: StandIn) -> None:
    assert SERVER.metrics is not None
    assert SERVER.batch_proof is not None

    def count() -> int:
        (line,) = [
            line
            for line in _get(stand_in, SERVER.metrics.path).decode().splitlines()
            if line.startswith(SERVER.batch_proof.items)
        ]
        return int(line.rpartition(" ")[2])

    before = count()
    stand_in.loaded(stand_in.endpoint(Protocol.TFSERVING_GRPC))
    assert count() == before + POOL_COUNT


def test_it_leaves_when_told_to(stand_in: StandIn) -> None:
    with stand_in.launched() as second:
        pids = second.pids()
        assert pids
    assert not second.pids() & pids


@pytest.mark.parametrize("name", ["tiny_cnn", "mobilenet_v2_035_96", "bert_tiny", "resnet50"])
def test_parity_holds_at_every_batch_size(stand_in: StandIn, name: str) -> None:
    prepared = stand_in.exported(zoo.models()[name], stand_in.settings.artifacts)
    assert [each.batch for each in prepared.parity] == list(BATCHES)
    assert all(each.passed for each in prepared.parity), prepared.parity
    assert [path.name for path in prepared.artifact.path.rglob("*")] == ["saved_model.pb"]


@pytest.mark.parametrize("name", ["tiny_cnn", "bert_tiny"])
def test_another_process_gives_the_same_bytes(stand_in: StandIn, name: str, tmp_path: Path) -> None:
    first = stand_in.exported(zoo.models()[name], stand_in.settings.artifacts).artifact
    again = stand_in.exported(zoo.models()[name], tmp_path)
    assert not again.cached
    assert again.artifact.sha256 == first.sha256
    content = (first.path / "saved_model.pb").read_bytes()
    assert b"site-packages" not in content
    assert str(SCRIPT.parents[2]).encode() not in content
