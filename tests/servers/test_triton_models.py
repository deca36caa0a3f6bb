"""What the real tritonserver does with models: ensembles, warm-up, loading by hand, versions, several copies."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightbench.model import Format
from nightbench.server import OptionValue
from servers.triton import SERVER
from servers.triton.repository import lay_out, placed, version_of
from tests.servers.running import Running, Start
from tests.servers.test_triton import READY, ask, connect, executions, protocol
from tests.servers.toy import MODEL, inputs, reference


@pytest.fixture
def serve(start: Start) -> Any:
    return lambda **options: start("triton", Format.ONNX, READY, **options)


def stats(server: Running, model: str = "toy") -> Any:
    with closing(connect("grpc", server)) as client:
        return client.get_inference_statistics(model).model_stats


def ready(client: Any) -> set[tuple[str, str]]:
    """Names and versions that the repository's index lists as READY."""
    return {(each.name, each.version) for each in client.get_model_repository_index().models if each.state == "READY"}


@pytest.fixture
def client() -> Iterator[Any]:
    opened: list[Any] = []

    def to(server: Running) -> Any:
        opened.append(connect("grpc", server))
        return opened[-1]

    yield to
    for one in opened:
        one.close()


def test_an_ensemble_gives_the_models_own_answers(serve: Any, client: Any) -> None:
    server = serve(ensemble=True, dynamic_batching=True, max_queue_delay_microseconds=5_000)
    for batch in (1, 3, 32):
        ask(protocol("grpc"), client(server), batch, seed=batch)
    with pytest.raises(Exception, match="batch-size must be <= 32"):
        ask(protocol("grpc"), client(server), batch=33)
    executions(server, batch=1)
    (whole,), (first,), (second,) = (stats(server, f"toy{step}") for step in ("", "_preprocess", "_model"))
    assert whole.inference_count == first.inference_count == second.inference_count == 76
    assert second.execution_count < first.execution_count


def test_every_copy_is_a_process_and_warmed_up_before_it_is_ready(serve: Any) -> None:
    server = serve(model_warmup=7, instance_count=2)
    stubs = [one for one in server.tree() if "triton_python_backend_stub" in one.cmdline()[0]]
    assert len(stubs) == 2
    before = stats(server)[0]
    assert (before.inference_count, before.execution_count) == (2 * 7, 2 * 7)
    assert executions(server, batch=1) == 40


def test_warm_up_runs_the_files_that_lie_there(serve: Any, client: Any) -> None:
    server = serve(model_warmup=1, model_control_mode="explicit")
    asked = client(server)
    data = server.request.workdir / "models" / "toy" / "warmup" / "input_1"
    whole = data.read_bytes()
    data.write_bytes(whole[:-8])
    with pytest.raises(Exception, match=r"warmup|warm-up|byte size"):
        asked.load_model("toy", config=configured(asked, {"all": {}}))
    data.write_bytes(whole)
    asked.load_model("toy", config=configured(asked, {"all": {}}))
    assert ready(asked) == {("toy", "1")}


def test_options_reach_the_running_model(serve: Any, client: Any) -> None:
    server = serve(graph_level=2, rate_limit="execution_count", instance_count=2, max_batch_size=8)
    config = client(server).get_model_config("toy").config
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 8)
    assert config.optimization.graph.level == 2
    assert config.instance_group[0].rate_limiter.resources[0].count == 1
    assert executions(server, batch=1) == 40


def test_models_come_and_go_at_a_clients_word(serve: Any, client: Any) -> None:
    asked = client(serve(model_control_mode="explicit"))
    ask(protocol("grpc"), asked, 2)
    asked.unload_model("toy")
    with pytest.raises(Exception, match="no available versions"):
        ask(protocol("grpc"), asked, 2)
    assert ready(asked) == set()
    asked.load_model("toy")
    assert ready(asked) == {("toy", "1")}
    ask(protocol("grpc"), asked, 2)


def configured(client: Any, policy: dict[str, Any]) -> str:
    """The served configuration with another version policy, as the control API takes it."""
    config = client.get_model_config("toy", as_json=True)["config"]
    return json.dumps({**config, "version_policy": policy})


def scores(client: Any, version: int) -> np.ndarray:
    """The answer to one request to a version, which says itself which it is."""
    library = protocol("grpc")
    tensors = [library.InferInput(name, array.shape, kind) for name, array, kind in named()]
    for tensor, (_, array, _) in zip(tensors, named(), strict=True):
        tensor.set_data_from_numpy(array)
    answer = client.infer("toy", tensors, model_version=str(version))
    assert answer.get_response().model_version == str(version)
    found: np.ndarray = answer.as_numpy("scores")
    return found


def named() -> list[tuple[str, np.ndarray, str]]:
    image, ids = inputs(2)
    return [("image", image, "FP32"), ("ids", ids, "INT64")]


def doubled_weights(source: Path, target: Path) -> Path:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    (weight,) = model.graph.initializer
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, str(target))
    return target


def test_versions_are_hashes_and_two_can_be_served_side_by_side(serve: Any, client: Any, tmp_path: Path) -> None:
    server = serve(model_control_mode="explicit")
    asked = client(server)
    first = version_of(server.request.artifact.sha256)
    path = doubled_weights(server.request.artifact.path, tmp_path / "other.onnx")
    with path.open("rb") as file:
        other = replace(server.request.artifact, path=path, sha256=file_digest(file, "sha256").hexdigest())
    second = version_of(other.sha256)
    assert second > 2**31
    models = placed(MODEL, Format.ONNX, SERVER.resolve({}), version=second)
    lay_out(server.request.workdir / "models", models, other)

    both = configured(asked, {"specific": {"versions": [first, second]}})
    asked.load_model("toy", config=both)
    assert ready(asked) == {("toy", str(first)), ("toy", str(second))}
    assert set(asked.get_model_metadata("toy").versions) == {str(first), str(second)}
    expected = reference(*inputs(2))[0]
    np.testing.assert_allclose(scores(asked, first), expected, atol=1e-5)
    np.testing.assert_allclose(scores(asked, second), 2 * expected, atol=1e-5)
    assert {each.version: each.inference_count for each in stats(server)} == {str(first): 2, str(second): 2}

    asked.load_model("toy", config=configured(asked, {"specific": {"versions": [second]}}))
    assert ready(asked) == {("toy", str(second))}
    with pytest.raises(Exception, match=rf"version {first} is not at ready state"):
        scores(asked, first)
    np.testing.assert_allclose(scores(asked, second), 2 * expected, atol=1e-5)
    asked.unload_model("toy")
    assert ready(asked) == set()
    asked.load_model("toy")  # as its file says
    assert ready(asked) == {("toy", str(second))}


@pytest.mark.parametrize("version", [2**60 - 1, 2**63 - 1])
def test_triton_takes_versions_far_beyond_32_bits(serve: Any, client: Any, version: int) -> None:
    server = serve(model_control_mode="explicit")
    asked = client(server)
    folder = server.request.workdir / "models" / "toy"
    (folder / "1").rename(folder / str(version))
    asked.load_model("toy", config=configured(asked, {"specific": {"versions": [version]}}))
    assert ready(asked) == {("toy", str(version))}
    np.testing.assert_allclose(scores(asked, version), reference(*inputs(2))[0], atol=1e-5)


def test_a_queue_delay_joins_and_a_preferred_size_ends_the_wait(serve: Any) -> None:
    options: dict[str, OptionValue] = {"dynamic_batching": True, "max_queue_delay_microseconds": 200_000}
    patient, content = serve(**options), serve(preferred_batch_size="4", **options)
    # All 8 clients come within the delay: the one waits for them, the other has enough with 4.
    assert executions(patient, batch=1) < executions(content, batch=1) < 40
    assert 4 in {each.batch_size for each in stats(content)[0].batch_stats}
