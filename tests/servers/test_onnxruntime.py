"""ONNX Runtime's own options, for real: those that work here give right answers, the others one sentence."""

import json
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.quantise import quantise_static
from nightbench.model import Artifact, Format, Precision
from nightbench.server import OptionValue
from servers import discover
from tests.servers.raw import BINARY, ask, post
from tests.servers.running import Start, running, serve_request
from tests.servers.toy import WEIGHT, inputs, reference

FEW_THREADS = 40  # fewer than the 50 that are asked for


@pytest.mark.parametrize(
    "options",
    [
        {"graph_optimization_level": "disabled"},
        {"execution_mode": "parallel", "inter_op_num_threads": 2, "intra_op_num_threads": 2},
    ],
)
def test_settings_change_no_answer(start: Start, options: dict[str, OptionValue]) -> None:
    server = start("onnxruntime", Format.ONNX, **options)
    with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as own:
        ask(own, batch=3)


def test_its_threads_are_its_own_option_over_the_suites(start: Start) -> None:
    plain, many = start("onnxruntime", Format.ONNX), start("onnxruntime", Format.ONNX, intra_op_num_threads=50)
    assert plain.tree()[0].num_threads() < FEW_THREADS < many.tree()[0].num_threads()


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_cannot_run_here_is_named_and_never_replaced(
    artifacts: dict[Format, Artifact], tmp_path: Path, provider: str
) -> None:
    spec = discover()["onnxruntime"]
    request = serve_request(spec, artifacts[Format.ONNX], tmp_path, provider=provider)
    with pytest.raises(AssertionError, match=f"provider {provider} "), running(request, spec, "/healthz"):
        pass


def stages(folder: Path, *, linear: bool = True) -> Artifact:
    """The toy model as two stages: the second takes what the first gives, and an input of the model itself."""
    folder.mkdir()

    def tensor(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", *shape])

    def write(name: str, nodes: list[onnx.NodeProto], taken: list[onnx.ValueInfoProto], given: list[object]) -> None:
        weights = [numpy_helper.from_array(WEIGHT, "weight")] if name == "judge" else []
        graph = helper.make_graph(nodes, name, taken, given, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / f"{name}.onnx")

    image, ids = tensor("image", TensorProto.FLOAT, 3, 4), tensor("ids", TensorProto.INT64, 3)
    flat = tensor("flat", TensorProto.FLOAT, 12)
    scores, doubled = tensor("scores", TensorProto.FLOAT, 5), tensor("doubled", TensorProto.INT64, 3)
    write("flatten", [helper.make_node("Flatten", ["image"], ["flat"], axis=1)], [image], [flat])
    judge = [
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
        helper.make_node("Add", ["ids", "ids"], ["doubled"]),
    ]
    write("judge", judge, [flat, ids], [scores, doubled])
    told = [("flatten", ["image"], ["flat"]), ("judge", ["flat", "ids"], ["scores", "doubled"])]
    described = [
        {
            "file": f"{name}.onnx",
            "name": name,
            "inputs": [{"name": each} for each in taken],
            "outputs": [{"name": each} for each in given],
        }
        for name, taken, given in told
    ]
    (folder / "stages.json").write_text(json.dumps({"linear": linear, "stages": described}))
    return Artifact("toy", Format.STAGES, Precision.FP32, "random", folder, "0" * 64, 1)


def test_stages_run_in_a_row_in_one_process_with_the_same_settings(tmp_path: Path) -> None:
    spec = discover()["onnxruntime"]
    (tmp_path / "work").mkdir()
    request = serve_request(spec, stages(tmp_path / "stages"), tmp_path / "work", intra_op_num_threads=25)
    with running(request, spec, "/healthz") as server, closing(HTTPConnection("127.0.0.1", server.port())) as own:
        for batch in (1, 3):
            ask(own, batch)
        assert len(server.tree()) == 1
        assert server.tree()[0].num_threads() > FEW_THREADS  # 25 for each of two sessions


def test_stages_that_are_not_in_a_row_are_refused_in_one_sentence(tmp_path: Path) -> None:
    spec = discover()["onnxruntime"]
    (tmp_path / "work").mkdir()
    request = serve_request(spec, stages(tmp_path / "stages", linear=False), tmp_path / "work")
    refused = pytest.raises(AssertionError, match="the stages of this model are not in a row")
    with refused, running(request, spec, "/healthz"):
        pass


def test_integers_inside_change_nothing_on_the_wire(artifacts: dict[Format, Artifact], tmp_path: Path) -> None:
    image, ids = inputs(32, seed=1)
    path = tmp_path / "int8.onnx"
    quantise_static(artifacts[Format.ONNX].path, {"image": image, "ids": ids}, path)
    spec = discover()["onnxruntime"]
    artifact = replace(artifacts[Format.ONNX], path=path, precision=Precision.INT8)
    image, ids = inputs(3)
    scores, doubled = reference(image, ids)
    request = serve_request(spec, artifact, tmp_path)
    with running(request, spec, "/healthz") as server, closing(HTTPConnection("127.0.0.1", server.port())) as own:
        code, body = post(own, image.tobytes() + ids.tobytes(), Content_Type=BINARY, X_Batch="3")
    assert (code, len(body)) == (200, scores.nbytes + doubled.nbytes)
    got = np.frombuffer(body, "<f4", scores.size).reshape(scores.shape)
    assert 1e-6 < np.abs(got - scores).max() < 0.1  # rounded to eight bits, and no more than that
    np.testing.assert_array_equal(np.frombuffer(body, "<i8", offset=scores.nbytes).reshape(doubled.shape), doubled)
