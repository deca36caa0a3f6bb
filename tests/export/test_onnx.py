"""ONNX in every precision: right answers, the same bytes everywhere, and one sentence where it cannot be had."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export import zoo
from export.draw import CALIBRATION, Arrays
from export.failure import one_line
from export.onnx_file import open_file
from export.onnx_graph import write
from export.quantise import quantise_dynamic, quantise_static
from nightbench.errors import ExportError
from nightbench.model import DType, Format, ModelSpec, Precision, TensorSpec, Tolerance
from tests.export.onnx_work import Bench

LOW = {Precision.FP32: 1e-5, Precision.FP16: 0.01, Precision.INT8: 0.15, Precision.INT8_DYNAMIC: 0.05}
"""How far tiny_cnn may stand from PyTorch in fp32: twice what was measured, or more."""
SPEC = ModelSpec(
    name="two",
    family="two",
    version=1,
    inputs=(TensorSpec("x", DType.FP32, (4,)),),
    outputs=(TensorSpec("y", DType.FP32, (4,)),),
    tolerance=Tolerance(1e-5),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.of_zoo(tmp_path_factory.mktemp("onnx"), "tiny_cnn")


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("count", [1, 5])
def test_every_precision_answers_in_fp32_at_any_batch_size(bench: Bench, precision: Precision, count: int) -> None:
    assert bench.nrmse(Format.ONNX, precision, count) < LOW[precision]


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_fewer_bits_are_a_smaller_file(bench: Bench, precision: Precision) -> None:
    sizes = [bench.path(Format.ONNX, each).stat().st_size for each in (precision, Precision.FP32)]
    assert sizes[0] < 0.6 * sizes[1]


def test_what_was_quantised_and_how_is_told(bench: Bench) -> None:
    for precision in (Precision.INT8, Precision.INT8_DYNAMIC):
        bench.path(Format.ONNX, precision)
    static, dynamic = bench.facts[Format.ONNX, Precision.INT8], bench.facts[Format.ONNX, Precision.INT8_DYNAMIC]
    assert static["quantised"] == "3 of 3 convolutions and matrix products"
    assert static["calibration"] == "32 items, min-max"
    assert dynamic["quantised"] == "1 of 3 convolutions and matrix products"
    assert {"opset", "ir", "onnx", "torch", "numpy"} <= static.keys() & dynamic.keys()


def test_ranges_come_from_inputs_that_are_never_measured(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[int] = []
    original = zoo.inputs

    def spy(spec: ModelSpec, count: int, stream: int) -> Arrays:
        streams.append(stream)
        return original(spec, count, stream)

    monkeypatch.setattr(zoo, "inputs", spy)
    Bench(tmp_path, bench.spec, bench.module).path(Format.ONNX, Precision.INT8)
    assert streams == [CALIBRATION]


@pytest.mark.parametrize("precision", LOW)
def test_shapes_are_inferred_and_no_release_is_named(bench: Bench, precision: Precision) -> None:
    model = onnx.load(bench.path(Format.ONNX, precision))
    assert model.producer_version == ""
    assert {entry.domain for entry in model.opset_import} == {""}
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    assert known >= {name for node in model.graph.node for name in node.output}
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input] == ["batch"]


def test_other_processes_write_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    """The tools go through Python sets of strings, whose order another hash seed changes."""
    source = bench.path(Format.ONNX)
    code = (
        "import sys; from pathlib import Path; from export import zoo; from export.draw import draw, CALIBRATION;"
        "from export.quantise import quantise_dynamic, quantise_static; source, out = map(Path, sys.argv[1:]);"
        "examples = draw(zoo.models()['tiny_cnn'], 4, CALIBRATION);"
        "quantise_static(source, examples, out / 'static'); quantise_dynamic(source, out / 'dynamic')"
    )
    folders = [tmp_path / seed for seed in ("1", "2")]
    for folder in folders:
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": folder.name}
        command = [sys.executable, "-c", code, str(source), str(folder)]
        subprocess.run(command, check=True, env=environment, capture_output=True)
    one, other = ([(folder / name).read_bytes() for name in ("static", "dynamic")] for folder in folders)
    assert one == other


def doubling(path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_model_without_weights_is_not_quantised(tmp_path: Path) -> None:
    source, target = doubling(tmp_path / "source.onnx"), tmp_path / "target.onnx"
    with pytest.raises(ExportError, match="nothing in this model can be quantised"):
        quantise_static(source, {"x": np.ones((2, 4), np.float32)}, target)
    with pytest.raises(ExportError, match="nothing in this model can be quantised"):
        quantise_dynamic(source, target)
    assert not target.exists()


class Chooses(torch.nn.Module):
    """Which operators run depends on the values: `torch.export` refuses it, a trace keeps what its example took."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * 2,) if bool((x.abs().sum() > 0).item()) else (x * 3,)


class Raises(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        raise RuntimeError("no such kernel\nin two lines")


@pytest.mark.filterwarnings("ignore")  # the tracer says what it cannot know
def test_where_torch_export_gives_up_tracing_is_used_and_said(tmp_path: Path) -> None:
    path = tmp_path / "traced.onnx"
    facts = write(Chooses().eval(), SPEC, path)
    assert (facts["exporter"], facts["opset"]) == ("tracing", "18")
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(open_file(path, ["y"])({"x": x})["y"], x * 2)


def test_where_both_give_up_both_are_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        write(Raises().eval(), SPEC, tmp_path / "none.onnx")
    assert str(caught.value).startswith("model two cannot be had as onnx: torch.export fails (")
    assert "tracing (RuntimeError: no such kernel)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_too_large_for_one_file_is_refused_before_it_is_exported(tmp_path: Path) -> None:
    huge = torch.nn.Linear(2**15, 2**15, device="meta")  # 4 GiB, of which none is in memory
    with pytest.raises(ExportError, match=r"model two has 4.0 GiB of weights and one ONNX file holds less than 2; "):
        write(huge, SPEC, tmp_path / "huge.onnx")


def test_an_input_and_an_output_of_one_name_are_refused(tmp_path: Path) -> None:
    alike = replace(SPEC, outputs=(TensorSpec("x", DType.FP32, (4,)),))
    with pytest.raises(ExportError, match="model two calls an input and an output 'x'"):
        write(torch.nn.Linear(4, 4), alike, tmp_path / "alike.onnx")


def test_weights_missing_beside_a_file_are_one_sentence(bench: Bench, tmp_path: Path) -> None:
    model = onnx.load(bench.path(Format.ONNX))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4096, np.float32), "more"))
    path = tmp_path / "apart.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(Exception, match=r"weights\.bin") as caught:
        open_file(path, ["scores"])
    assert "weights.bin" in one_line(caught.value)
