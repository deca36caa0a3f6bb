"""Every operator that the converter to SavedModel knows, but for those that hand on what they get, beside ONNX
Runtime's own answer.

All of them are outputs of a few graphs: what takes its time is starting TensorFlow. Operators over images are asked
both of a graph's input, whose channels are second, and of a convolution's output, whose channels the converter keeps
last.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.environments import ENVIRONMENTS
from export.formats.base import Work
from export.formats.savedmodel import EXPORTER
from launch.environment import ensure_environment
from nightbench.errors import ExportError
from nightbench.model import DType, ModelSpec, Precision, TensorSpec, Tolerance
from nightbench.settings import Settings

INPUTS = (
    TensorSpec("x", DType.FP32, (4, 6, 8)),
    TensorSpec("s", DType.FP32, (5, 8)),
    TensorSpec("ids", DType.INT64, (5,), high=7),
)
OPSET = 18
DTYPES = {"tensor(float)": DType.FP32, "tensor(int64)": DType.INT64, "tensor(int32)": DType.INT32}
_DRAWN = np.random.default_rng(7)


def floats(*shape: int) -> NDArray[np.float32]:
    return _DRAWN.standard_normal(shape, dtype=np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


class Graph:
    """Nodes, each with an output of the graph or of other nodes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[str] = []

    def add(
        self, op: str, *inputs: "str | NDArray[Any]", outputs: int = 1, hidden: bool = False, **attributes: Any
    ) -> str:
        names = []
        for each in inputs:
            if isinstance(each, str):
                names.append(each)
            else:
                names.append(f"c{len(self.constants)}")
                self.constants.append(numpy_helper.from_array(each, names[-1]))
        made = [f"{op}_{len(self.nodes)}_{position}" for position in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, **attributes))
        if not hidden:
            self.outputs += made
        return made[0]

    def model(self) -> onnx.ModelProto:
        kinds = {DType.FP32: TensorProto.FLOAT, DType.INT64: TensorProto.INT64}
        inputs = [helper.make_tensor_value_info(i.name, kinds[i.dtype], ["batch", *i.shape]) for i in INPUTS]
        blank = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "g", inputs, blank, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        inferred = onnx.shape_inference.infer_shapes(model)
        known = {each.name: each for each in (*inferred.graph.output, *inferred.graph.value_info)}
        del model.graph.output[:]
        model.graph.output.extend(known[name] for name in self.outputs)
        return model


def over_images(graph: Graph, image: str) -> None:
    """What is asked of four channels in eight columns, of either order in memory."""
    for op in (
        "Relu",
        "Sigmoid",
        "Tanh",
        "Erf",
        "Exp",
        "Floor",
        "Ceil",
        "Neg",
        "Abs",
        "Sin",
        "Cos",
        "Softplus",
        "Sign",
    ):
        graph.add(op, image)
    graph.add("HardSigmoid", image, alpha=0.3)
    graph.add("HardSwish", image)
    graph.add("LeakyRelu", image, alpha=0.2)
    graph.add("Clip", image, np.float32(0), np.float32(6))
    graph.add("Clip", image, np.float32(-0.5), np.float32(0.5))
    graph.add("Clip", image, "", np.float32(0.5))
    for other in (image, "x", floats(4, 1, 1), floats(8), np.float32(2), floats(1, 4, 6, 8)):
        for op in ("Add", "Mul", "Sub", "Max"):
            graph.add(op, image, other)
    for axes in ([2, 3], [1], [-1], [1, 2, 3]):
        for keep in (0, 1):
            for op in ("ReduceMean", "ReduceMax", "ReduceL2"):
                graph.add(op, image, ints(*axes), keepdims=keep)
            graph.add("ReduceSum", image, ints(*axes), keepdims=keep)
    graph.add("Concat", image, "x", axis=1)
    graph.add("Concat", image, "x", axis=-1)
    graph.add("Split", image, ints(1, 3), axis=1, outputs=2)
    graph.add("Split", image, axis=3, num_outputs=2, outputs=2)
    graph.add("Slice", image, ints(1, 0), ints(4, 2**62), ints(1, 3), ints(2, 2))
    graph.add("Slice", image, ints(-1), ints(-(2**62)), ints(2), ints(-1))
    graph.add("Slice", image, ints(2**62), ints(-(2**62)), ints(2), ints(-2))
    graph.add("Slice", image, ints(-(2**62)), ints(2**62), ints(3))
    graph.add("Slice", image, ints(2**62), ints(2**63 - 1), ints(2))
    graph.add("Slice", image, ints(0), ints(-(2**62)), ints(3), ints(2))
    graph.add("Pad", image, ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(1.5))
    graph.add("Pad", image, ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect")
    graph.add("Transpose", image, perm=[0, 2, 3, 1])
    graph.add("Reshape", image, ints(0, 4, -1))
    graph.add("Flatten", image)
    # Below zero too, and known at run time only.
    places = graph.add("Sub", "ids", ints(3)[0], hidden=True)
    graph.add("GatherElements", image, graph.add("Unsqueeze", places, ints(2, 3), hidden=True), axis=1)
    graph.add("GatherElements", image, graph.add("Unsqueeze", places, ints(1, 2), hidden=True), axis=-1)
    graph.add("Softmax", image, axis=1)
    graph.add("Shape", image, start=1)
    graph.add(
        "Resize", image, "", floats(0), ints(1, 4, 12, 24), mode="nearest", coordinate_transformation_mode="half_pixel"
    )
    scales = np.array([1, 1, 2, 2], np.float32)
    asymmetric = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    graph.add("Resize", image, "", scales, mode="nearest", **asymmetric)
    graph.add("GlobalAveragePool", image)
    for pads in ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]):
        graph.add("MaxPool", image, kernel_shape=[3, 3], strides=[2, 2], pads=pads)
        graph.add("MaxPool", image, kernel_shape=[3, 3], pads=pads)
        for included in (0, 1):
            graph.add("AveragePool", image, kernel_shape=[3, 3], strides=[2, 1], pads=pads, count_include_pad=included)
        graph.add("Conv", image, floats(6, 4, 3, 3), floats(6), pads=pads, strides=[2, 2])
        graph.add("Conv", image, floats(6, 4, 3, 3), pads=pads)
        graph.add("Conv", image, floats(8, 1, 3, 3), floats(8), pads=pads, strides=[2, 2], group=4)
        graph.add("Conv", image, floats(8, 1, 3, 3), floats(8), pads=pads, group=4)
        graph.add("Conv", image, floats(6, 2, 3, 3), floats(6), pads=pads, group=2)
    for strides in ([1, 1], [2, 2]):
        graph.add("Conv", image, floats(6, 4, 3, 3), floats(6), pads=[2, 2, 2, 2], dilations=[2, 2], strides=strides)
        graph.add("Conv", image, floats(6, 2, 2, 2), floats(6), dilations=[2, 3], strides=strides, group=2)
    graph.add("Conv", image, floats(8, 1, 3, 3), floats(8), pads=[2, 2, 2, 2], dilations=[2, 2], group=4)
    graph.add("Conv", image, floats(8, 1, 2, 2), floats(8), pads=[0, 1, 1, 0], dilations=[2, 3], group=4)
    graph.add("BatchNormalization", image, floats(4), floats(4), floats(4), np.abs(floats(4)), epsilon=1e-3)


def images_as_given() -> Graph:
    graph = Graph()
    over_images(graph, "x")
    return graph


def images_of_a_convolution() -> Graph:
    graph = Graph()
    over_images(graph, graph.add("Conv", "x", floats(4, 4, 1, 1), floats(4), hidden=True))
    return graph


def sequences() -> Graph:
    graph = Graph()
    length = ints(5)
    graph.add("MatMul", "s", floats(8, 3))
    turned = graph.add("Transpose", "s", perm=[0, 2, 1])
    graph.add("MatMul", "s", turned)
    graph.add("MatMul", floats(2, 5), "s")
    flat = graph.add("Reshape", "s", ints(-1, 40))
    graph.add("Gemm", flat, floats(3, 40), floats(3), transB=1, alpha=0.5, beta=2.0)
    graph.add("Gemm", flat, floats(40, 3), floats(1, 3))
    graph.add("Einsum", "s", floats(8, 3), equation="bsi,ij->bsj")
    graph.add("LayerNormalization", "s", floats(8), floats(8), epsilon=1e-5)
    graph.add("LayerNormalization", "s", floats(5, 8), axis=1)
    graph.add("Softmax", "s")
    graph.add("BatchNormalization", flat, floats(40), floats(40), floats(40), np.abs(floats(40)))
    positive = graph.add("Abs", "s")
    for op in ("Sqrt", "Log", "Reciprocal"):
        graph.add(op, positive)
    graph.add("Pow", positive, np.float32(1.5))
    graph.add("Pow", "s", ints(2)[0])
    graph.add("Pow", "ids", np.float32(0.5))
    graph.add("Pow", graph.add("Mul", "ids", ints(5)[0], hidden=True), np.float32(2))
    graph.add("Pow", "ids", ints(3)[0])
    graph.add("Div", "s", np.float32(3))
    graph.add("Div", "ids", ints(2)[0])
    graph.add("Sum", "s", "s", floats(8))
    graph.add("Min", "s", floats(8), np.float32(0.1))
    graph.add("Gather", floats(7, 3), "ids")
    graph.add("Gather", "s", ints(-1, 0), axis=1)
    graph.add("Gather", "s", np.int64(2), axis=1)
    places = graph.add("Sub", "ids", ints(3)[0], hidden=True)
    down = graph.add("Unsqueeze", places, ints(2), hidden=True)
    graph.add("GatherElements", floats(7, 8), "ids")
    graph.add("GatherElements", floats(4, 5), places, axis=-2)
    graph.add("GatherElements", "s", down, axis=1)
    graph.add("GatherElements", graph.add("Concat", "s", "s", axis=0, hidden=True), down, axis=1)
    graph.add("GatherElements", "s", graph.add("Unsqueeze", places, ints(1), hidden=True), axis=-1)
    graph.add("GatherElements", flat, graph.add("Cast", places, to=TensorProto.INT32, hidden=True), axis=1)
    graph.add("GatherElements", "ids", graph.add("Slice", places, ints(0), ints(2), ints(1), hidden=True), axis=1)
    chosen = graph.add("GatherElements", floats(2, 9), ints(-9, 8, -1, 0, 1, 2, 3, -2)[None], axis=1, hidden=True)
    graph.add("Add", "s", chosen)
    graph.add("ArgMax", "s", axis=-1, keepdims=0)
    graph.add("ArgMax", "s", axis=1)
    graph.add("Unsqueeze", "s", ints(1, -1))
    graph.add("Squeeze", graph.add("Unsqueeze", "s", ints(1), hidden=True), ints(1))
    graph.add("Tile", "s", ints(1, 2, 1))
    graph.add("Identity", "s")
    graph.add("Cast", "ids", to=TensorProto.FLOAT)
    for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        told = graph.add(op, "ids", ints(3)[0], hidden=True)
        graph.add("Where", told, "ids", ints(-1)[0])
    few = graph.add("Less", "ids", ints(5)[0], hidden=True)
    many = graph.add("Greater", "ids", ints(1)[0], hidden=True)
    for joined in (graph.add("And", few, many, hidden=True), graph.add("Or", few, many, hidden=True)):
        graph.add("Cast", graph.add("Not", joined, hidden=True), to=TensorProto.INT64)
    graph.add("Cast", graph.add("IsNaN", graph.add("Log", "s", hidden=True), hidden=True), to=TensorProto.INT32)
    batch = graph.add("Shape", "s", start=0, end=1, hidden=True)
    shape = graph.add("Concat", batch, length, axis=0, hidden=True)
    filled = graph.add("ConstantOfShape", shape, value=helper.make_tensor("v", TensorProto.INT64, [1], [3]))
    graph.add("Add", filled, "ids")
    graph.add("Expand", graph.add("Unsqueeze", ints(*range(5)), ints(0), hidden=True), shape)
    rows = graph.add("Range", ints(0)[0], graph.add("Squeeze", batch, hidden=True), ints(1)[0], hidden=True)
    pairs = graph.add("Unsqueeze", rows, ints(1), hidden=True)
    graph.add("GatherND", "s", pairs)
    graph.add("Slice", "s", ints(0), batch, ints(0))
    graph.add("Constant", value=numpy_helper.from_array(floats(1, 2)), hidden=True)
    return graph


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root, log = Settings.from_environment().server_environments, tmp_path_factory.mktemp("uv") / "log"
    return {"tensorflow": ensure_environment(ENVIRONMENTS["tensorflow"], root, "pinned", print, log).python}


def work(spec: ModelSpec, source: Path, tools: Mapping[str, Path]) -> Work:
    def none() -> Any:
        raise AssertionError

    return Work(spec, "random", Precision.FP32, none, none, lambda *_: source, tools)


def spec_of(outputs: tuple[TensorSpec, ...]) -> ModelSpec:
    return ModelSpec("operators", "tests", 1, INPUTS, outputs, Tolerance(1e-4))


@pytest.mark.parametrize("build", [images_as_given, images_of_a_convolution, sequences])
def test_they_answer_as_onnx_runtime_does(
    build: Callable[[], Graph], tools: Mapping[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(build().model(), source)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    outputs = tuple(
        TensorSpec(told.name, DTYPES[told.type], ()) for told in session.get_outputs() if told.type in DTYPES
    )
    names = [each.name for each in outputs]
    asked = {}
    for batch in (1, 3):
        drawn = np.random.default_rng(batch)
        inputs = {
            "x": drawn.standard_normal((batch, 4, 6, 8), dtype=np.float32),
            "s": drawn.standard_normal((batch, 5, 8), dtype=np.float32),
            "ids": drawn.integers(0, 7, (batch, 5)),
        }
        asked[batch] = inputs, dict(zip(names, session.run(names, inputs), strict=True))
    # An output without a batch axis is none that a spec could tell.
    (_, alone), (_, three) = asked.values()
    batched = tuple(
        TensorSpec(each.name, each.dtype, alone[each.name].shape[1:])
        for each in outputs
        if alone[each.name].ndim and (len(alone[each.name]), len(three[each.name])) == (1, 3)
    )
    assert len(batched) > 0.8 * len(outputs)
    spec = spec_of(batched)
    EXPORTER.export(work(spec, source, tools), tmp_path / "saved")
    run = EXPORTER.open(tmp_path / "saved", spec, tools)
    for inputs, want in asked.values():
        got = run(inputs)
        for each in batched:
            assert got[each.name].dtype == want[each.name].dtype
            np.testing.assert_allclose(got[each.name], want[each.name], 1e-4, 1e-5, err_msg=each.name)


def test_an_operator_without_a_counterpart_is_one_sentence(tools: Mapping[str, Path], tmp_path: Path) -> None:
    graph = Graph()
    name = graph.add("Celu", "x")
    onnx.save(graph.model(), tmp_path / "model.onnx")
    spec = spec_of((TensorSpec(name, DType.FP32, (4, 6, 8)),))
    with pytest.raises(
        ExportError, match="operators cannot be made a SavedModel: ONNX operator Celu has no counterpart"
    ):
        EXPORTER.export(work(spec, tmp_path / "model.onnx", tools), tmp_path / "saved")


def dilated_in_depth(graph: Graph) -> str:
    return graph.add("Conv", "x", floats(4, 1, 3, 3), group=4, strides=[2, 2], dilations=[2, 2])


def padded_by_itself(graph: Graph) -> str:
    return graph.add("AveragePool", "x", kernel_shape=[3, 3], auto_pad="SAME_UPPER")


def with_its_mean(graph: Graph) -> str:
    return graph.add("Add", graph.add("LayerNormalization", "s", floats(8), outputs=2), "LayerNormalization_0_1")


def with_its_mask(graph: Graph) -> str:
    graph.add("Dropout", "s", outputs=2)
    return graph.add("Not", "Dropout_0_1")


def in_three_of_four(graph: Graph) -> str:
    return graph.add("Conv", "x", floats(6, 1, 3, 3), group=3)


REFUSED: Mapping[str, tuple[Callable[[Graph], str], int, str]] = {
    "depth": (dilated_in_depth, OPSET, "ONNX operator Conv of depth with strides [2, 2] and dilations [2, 2] has no"),
    "auto_pad": (padded_by_itself, OPSET, "ONNX operator AveragePool with auto_pad SAME_UPPER has no counterpart"),
    "mean": (with_its_mean, OPSET, "LayerNormalization whose outputs ['LayerNormalization_0_1'] are used has no"),
    "mask": (with_its_mask, OPSET, "ONNX operator Dropout whose outputs ['Dropout_0_1'] are used has no counterpart"),
    "an error": (in_three_of_four, OPSET, "ONNX operator Conv: "),
    "shape": (lambda graph: graph.add("Relu", "s"), OPSET, "output Relu_0_0 is of shape (None, 5, 8), not (None,)"),
    "opset": (lambda graph: graph.add("Softmax", "s"), 12, "its ONNX opset is 12; export it with 13 or newer"),
}
_CONVERTS = "import json, sys; from convert import convert; print(json.dumps([*map(convert, json.load(sys.stdin))]))"


@pytest.fixture(scope="module")
def sentences(tools: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the converter says of each, of all of them in one process."""
    folder, orders = tmp_path_factory.mktemp("refused"), []
    inputs = [{"name": i.name, "dtype": np.dtype(i.dtype.numpy).name, "shape": i.shape} for i in INPUTS]
    for number, (build, opset, _) in enumerate(REFUSED.values()):
        graph, source = Graph(), folder / f"{number}.onnx"
        name = build(graph)
        model = graph.model()
        model.opset_import[0].version = opset
        onnx.save(model, source)
        output = {"name": name, "dtype": "float32", "shape": []}
        orders.append({"onnx": str(source), "folder": str(folder / "saved"), "inputs": inputs, "outputs": [output]})
    done = subprocess.run(
        [tools["tensorflow"], "-B", "-c", _CONVERTS],
        cwd=ENVIRONMENTS["tensorflow"].folder,
        input=json.dumps(orders).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(zip(REFUSED, (each.get("error", "") for each in json.loads(done.stdout)), strict=True))


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_would_get_wrong_is_refused(what: str, sentences: Mapping[str, str]) -> None:
    sentence = REFUSED[what][2]
    assert sentence in sentences[what]
    assert "\n" not in sentences[what]


def test_one_bad_request_ends_nothing_and_a_lost_process_is_one_sentence(
    tools: Mapping[str, Path], tmp_path: Path
) -> None:
    graph = Graph()
    name = graph.add("Relu", "x")
    onnx.save(graph.model(), tmp_path / "model.onnx")
    spec = spec_of((TensorSpec(name, DType.FP32, (4, 6, 8)),))
    EXPORTER.export(work(spec, tmp_path / "model.onnx", tools), tmp_path / "saved")
    run: Any = EXPORTER.open(tmp_path / "saved", spec, tools)
    good = {"x": floats(2, 4, 6, 8), "s": floats(2, 5, 8), "ids": np.zeros((2, 5), np.int64)}
    with pytest.raises(RuntimeError, match="Error: "):
        run({"x": floats(2, 4, 6, 9)})
    np.testing.assert_array_equal(run(good)[name], np.maximum(good["x"], 0))
    run._process.kill()
    with pytest.raises(RuntimeError, match="the process that ran TensorFlow ended with code -9"):
        run(good)


def test_a_folder_that_is_none_is_one_sentence(tools: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="SavedModel file does not exist"):
        EXPORTER.open(tmp_path, spec_of(()), tools)
