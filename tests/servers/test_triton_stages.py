"""A model of two stages on the real tritonserver: an ensemble whose pre-processing is a model with its own batches."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from nightbench.model import Artifact, Draw, DType, Format, ModelSpec, Precision, Stage, TensorSpec, Tolerance
from servers.triton import SERVER
from servers.triton.repository import version_of
from tests.servers.running import Running, running, serve_request
from tests.servers.test_triton import READY, connect, protocol
from tests.servers.toy import WEIGHT

PICTURE = TensorSpec("picture", DType.UINT8, (3, 4), draw=Draw.INTEGER, high=256)
PIXELS = TensorSpec("pixels", DType.FP32, (12,))
SCORES = TensorSpec("scores", DType.FP32, (5,))
MODEL = ModelSpec(
    name="staged",
    family="toy",
    version=1,
    inputs=(PICTURE,),
    outputs=(SCORES,),
    tolerance=Tolerance(1e-5, 1e-5),
    stages=(Stage("preprocess", (PICTURE,), (PIXELS,)), Stage("classify", (PIXELS,), (SCORES,))),
)
SHA256 = "abcdef0123456789" * 4


def export(folder: Path) -> Artifact:
    """Two files as `export.formats.stages` would write them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {DType.UINT8: TensorProto.UINT8, DType.FP32: TensorProto.FLOAT}

    def value(tensor: TensorSpec) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(tensor.name, types[tensor.dtype], ["batch", *tensor.shape])

    def write(name: str, given: TensorSpec, wanted: TensorSpec, nodes: list[Any], weights: dict[str, Any]) -> None:
        arrays = [numpy_helper.from_array(array, key) for key, array in weights.items()]
        graph = helper.make_graph(nodes, name, [value(given)], [value(wanted)], arrays)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, str(folder / f"{name}.onnx"))

    node = helper.make_node
    scaled = [
        node("Cast", ["picture"], ["number"], to=TensorProto.FLOAT),
        node("Div", ["number", "scale"], ["unit"]),
        node("Flatten", ["unit"], ["pixels"], axis=1),
    ]
    write("preprocess", PICTURE, PIXELS, scaled, {"scale": np.array(255, "<f4")})
    write("classify", PIXELS, SCORES, [node("MatMul", ["pixels", "weight"], ["scores"])], {"weight": WEIGHT})
    return Artifact("staged", Format.STAGES, Precision.FP32, "random", folder, SHA256, 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("staged")
    artifact = export(folder)
    options = {
        "model_control_mode": "explicit",
        "dynamic_batching": True,
        "max_queue_delay_microseconds": 20_000,
        "model_warmup": 3,
    }
    request = serve_request(SERVER, artifact, Path(mkdtemp(prefix="nightbench-test-triton-", dir=folder)), **options)
    with ExitStack() as stack:
        yield stack.enter_context(running(replace(request, model=MODEL), SERVER, READY))


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    with closing(connect("grpc", server)) as opened:
        yield opened


def ask(client: Any, batch: int, seed: int) -> Any:
    """One good request; its answer, which was compared."""
    picture = np.random.default_rng(seed).integers(0, 256, (batch, 3, 4)).astype("|u1")
    given = protocol("grpc").InferInput("picture", picture.shape, "UINT8")
    given.set_data_from_numpy(picture)
    answer = client.infer("staged", [given])
    expected = (picture.reshape(batch, 12) / np.float32(255)) @ WEIGHT
    np.testing.assert_allclose(answer.as_numpy("scores"), expected, atol=1e-5)
    return answer.get_response()


def statistics(client: Any) -> dict[str, tuple[int, int]]:
    """Inferences and executions of each model."""
    found = client.get_inference_statistics().model_stats
    return {each.name: (each.inference_count, each.execution_count) for each in found}


def test_loading_the_ensemble_loads_its_stages_warmed_up_and_all_at_the_artifacts_version(client: Any) -> None:
    index = {(each.name, each.version, each.state) for each in client.get_model_repository_index().models}
    version = str(version_of(SHA256))
    assert f"{int(version):x}" == SHA256[:15]
    assert index == {(name, version, "READY") for name in ("staged", "staged_preprocess", "staged_classify")}
    counted = statistics(client)
    assert counted["staged_preprocess"] == counted["staged_classify"] == (3, 3)
    assert counted["staged"][0] == 0


def test_every_batch_is_answered_and_says_which_version_answered(client: Any) -> None:
    for batch in (1, 3, 32):
        assert ask(client, batch, seed=batch).model_version == str(version_of(SHA256))
    (given,) = client.get_model_metadata("staged").inputs
    assert (given.name, given.datatype, list(given.shape)) == ("picture", "UINT8", [-1, 3, 4])


def test_each_stage_joins_requests_by_itself(server: Running, client: Any) -> None:
    before = statistics(client)

    def run(seed: int) -> None:
        with closing(connect("grpc", server)) as own:
            for turn in range(5):
                ask(own, 1, seed=10 * seed + turn)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))
    after = statistics(client)
    for stage in ("staged_preprocess", "staged_classify"):
        inferences, executions = (late - early for late, early in zip(after[stage], before[stage], strict=True))
        assert inferences == 40
        assert executions < 40


def test_the_time_its_stages_took_to_load_is_told_as_one(server: Running) -> None:
    assert int(server.request.load_time_path.read_text()) > 0


def test_unloading_with_dependents_leaves_nothing_and_loading_brings_all_back(client: Any) -> None:
    client.unload_model("staged", unload_dependents=True)
    assert not [each for each in client.get_model_repository_index().models if each.state == "READY"]
    client.load_model("staged")
    ask(client, 2, seed=0)
