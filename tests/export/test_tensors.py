"""What an artifact says of its own tensors, and that it is what the spec says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.tensors import tensors
from nightbench.errors import ExportError
from nightbench.model import DType, Format, ModelSpec, Stage, TensorSpec
from tests.servers.toy import MODEL, export_onnx, export_torchscript


def graph(path: Path, given: TensorSpec, wanted: TensorSpec, batch: Any = "batch") -> None:
    """A file that hands its one input on, whatever shapes it declares."""
    import onnx
    from onnx import TensorProto, helper

    types = {DType.FP32: TensorProto.FLOAT, DType.INT64: TensorProto.INT64}

    def value(tensor: TensorSpec) -> onnx.ValueInfoProto:
        extents = [None if extent < 0 else extent for extent in tensor.shape]
        return helper.make_tensor_value_info(tensor.name, types[tensor.dtype], [batch, *extents])

    node = helper.make_node("Identity", [given.name], [wanted.name])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [value(given)], [value(wanted)])), str(path))


@pytest.mark.parametrize("file_format", [Format.ONNX, Format.TORCHSCRIPT])
def test_a_good_file_says_what_its_spec_says(tmp_path: Path, file_format: Format) -> None:
    path = tmp_path / "toy"
    (export_onnx if file_format is Format.ONNX else export_torchscript)(path)
    assert tensors(path, file_format, MODEL) == (MODEL.inputs, MODEL.outputs)


@pytest.mark.parametrize("file_format", [Format.ONNX, Format.TORCHSCRIPT])
@pytest.mark.parametrize("change", [{"shape": (6,)}, {"dtype": DType.FP16}])
def test_a_file_that_differs_is_an_error_that_names_both(
    tmp_path: Path, file_format: Format, change: dict[str, Any]
) -> None:
    path = tmp_path / "toy"
    (export_onnx if file_format is Format.ONNX else export_torchscript)(path)
    said = replace(MODEL.outputs[0], **change)
    with pytest.raises(ExportError) as caught:
        tensors(path, file_format, replace(MODEL, outputs=(said, MODEL.outputs[1])))
    sentence = str(caught.value)
    assert f"its spec says the outputs scores {said.dtype}{list(said.shape)}" in sentence
    assert "its exported file has scores FP32[5]" in sentence


def test_an_open_extent_takes_what_the_spec_says(tmp_path: Path) -> None:
    x, y = TensorSpec("x", DType.FP32, (-1, 4)), TensorSpec("y", DType.FP32, (-1, 4))
    graph(tmp_path / "a.onnx", x, y)
    said = replace(MODEL, inputs=(replace(x, shape=(3, 4)),), outputs=(replace(y, shape=(3, 4)),))
    assert tensors(tmp_path / "a.onnx", Format.ONNX, said) == ((x,), (y,))


def test_a_closed_batch_axis_is_refused(tmp_path: Path) -> None:
    x, y = TensorSpec("x", DType.FP32, (4,)), TensorSpec("y", DType.FP32, (4,))
    graph(tmp_path / "a.onnx", x, y, batch=2)
    with pytest.raises(ExportError, match="batch axis fixed at 2"):
        tensors(tmp_path / "a.onnx", Format.ONNX, replace(MODEL, inputs=(x,), outputs=(y,)))


@pytest.fixture
def staged(tmp_path: Path) -> ModelSpec:
    x, y, z = (TensorSpec(name, DType.FP32, (4,)) for name in "xyz")
    graph(tmp_path / "one.onnx", x, y)
    graph(tmp_path / "two.onnx", y, z)
    return replace(MODEL, inputs=(x,), outputs=(z,), stages=(Stage("one", (x,), (y,)), Stage("two", (y,), (z,))))


def test_stages_are_read_from_end_to_end(tmp_path: Path, staged: ModelSpec) -> None:
    assert tensors(tmp_path, Format.STAGES, staged) == (staged.inputs, staged.outputs)


def test_a_stage_that_differs_is_named(tmp_path: Path, staged: ModelSpec) -> None:
    one, two = staged.stages
    wrong = replace(staged, stages=(replace(one, outputs=(TensorSpec("y", DType.INT64, (4,)),)), two))
    with pytest.raises(ExportError, match=r"stage one: its spec says the outputs y INT64\[4\], .* has y FP32\[4\]"):
        tensors(tmp_path, Format.STAGES, wrong)


def test_formats_that_only_parity_speaks_of_are_not_read(tmp_path: Path) -> None:
    assert tensors(tmp_path / "none", Format.OPENVINO, MODEL) is None
