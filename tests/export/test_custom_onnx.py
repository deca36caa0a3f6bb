"""ONNX files of a user's own: what one says of itself, and weights that lie beside it."""

import shutil
from dataclasses import replace
from errno import EACCES
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from export.custom_file import adopt, file_facts
from export.isolated import found
from export.signature import external_data, load, read_signature
from nightbench.catalog import Catalog
from nightbench.errors import ExportError
from nightbench.model import Custom as Given
from nightbench.model import DType, Format, Precision, TensorSpec
from nightbench.suite import parse_suite
from tests.export.custom_work import SHAPES, onnx_model, spec_of, written


def split(folder: Path) -> Path:
    """With its weights in a file beside it."""
    path = folder / "net.onnx"
    onnx.save(onnx_model(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_an_onnx_file_says_itself_what_it_takes(tmp_path: Path) -> None:
    assert read_signature(written(tmp_path, onnx_model())) == (SHAPES["inputs"], SHAPES["outputs"])


def test_a_suite_plans_an_onnx_file_by_its_signature_and_an_unreadable_one_too(tmp_path: Path) -> None:
    text = """
    name: s
    sweeps:
      - models: [{name: mine, custom: {file: net.onnx}}]
        servers: [a]
        loads: [{closed: 1}]
    """
    path = written(tmp_path, onnx_model())
    catalog = Catalog({}, {}, read_signature)
    whole = catalog.with_external(parse_suite(text, "s", tmp_path)).models["mine"]
    assert (whole.inputs, whole.outputs) == (SHAPES["inputs"], SHAPES["outputs"])
    path.write_bytes(path.read_bytes()[:-9])
    cut = catalog.with_external(parse_suite(text, "s", tmp_path)).models["mine"]
    assert cut.inputs == ()
    with pytest.raises(ExportError, match="is no ONNX model, or cut off"):
        adopt(cut, tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (onnx_model(batch=1), "has a batch axis fixed at 1; export it with a first axis that is dynamic"),
        (onnx_model(size="classes"), "'y' has axes of any size; give 'inputs' and 'outputs' with the shapes"),
        (onnx_model(kind=TensorProto.DOUBLE), "'x' is of type DOUBLE; nightbench knows FP32"),
    ],
)
def test_what_an_onnx_file_does_not_say_is_asked_for(tmp_path: Path, model: Any, said: str) -> None:
    with pytest.raises(ExportError) as caught:
        read_signature(written(tmp_path, model))
    assert said in str(caught.value)


def test_shapes_that_the_file_leaves_open_are_those_of_the_suite(tmp_path: Path) -> None:
    spec = spec_of(Given(file=written(tmp_path, onnx_model(size="classes"))))
    assert adopt(spec, tmp_path / "out")["exporter"] == "as given"
    for wrong in (
        replace(spec, outputs=(TensorSpec("y", DType.FP32, (2, 2)),)),
        replace(spec, inputs=(TensorSpec("x", DType.INT64, (3,)),)),
    ):
        with pytest.raises(ExportError, match="correct its entry under"):
            adopt(wrong, tmp_path / "out")
    with pytest.raises(ExportError, match="has no 'z' among its inputs \\(x\\); correct the name"):
        adopt(replace(spec, inputs=(TensorSpec("z", DType.FP32, (3,)),)), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no model at all", b"PK\x03\x04", bytes(range(200, 256))])
def test_what_is_no_onnx_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match="is no ONNX model") as caught:
        read_signature(path)
    assert "\n" not in str(caught.value)


def test_external_data_comes_along_or_is_missed_by_name(tmp_path: Path) -> None:
    spec = spec_of(Given(file=split(tmp_path)))
    adopt(spec, tmp_path / "out.onnx")
    alone = shutil.copy(tmp_path / "out.onnx", tmp_path / "elsewhere.onnx")
    (weight,) = onnx.load(alone).graph.initializer
    assert np.array_equal(numpy_helper.to_array(weight), np.arange(6, dtype=np.float32).reshape(3, 2))
    before = file_facts(spec)
    (tmp_path / "net.data").write_bytes(bytes(24))
    assert file_facts(spec) != before
    (tmp_path / "net.data").unlink()
    with pytest.raises(ExportError, match=r"has weights in net\.data, which is not beside it; copy it there"):
        adopt(spec, tmp_path / "again.onnx")


def test_constants_and_inner_graphs_keep_external_data_too(tmp_path: Path) -> None:
    def beside(name: str) -> "onnx.TensorProto":
        values = np.arange(6, dtype=np.float32).reshape(3, 2)
        (tmp_path / name).write_bytes(values.tobytes())
        tensor = numpy_helper.from_array(values, "weight")
        set_external_data(tensor, name)
        tensor.ClearField("raw_data")
        return tensor

    model = onnx_model()
    model.graph.ClearField("initializer")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["weight"], value=beside("constant.data")))
    inner = helper.make_graph(
        [helper.make_node("Identity", ["weight"], ["z"])], "inner", [], [], [beside("inner.data")]
    )
    model.graph.node.append(helper.make_node("If", ["never"], [], then_branch=inner, else_branch=inner))
    spec = spec_of(Given(file=written(tmp_path, model)))
    before = file_facts(spec)
    assert adopt(spec, tmp_path / "out.onnx") == {"exporter": "as given, external data embedded"}
    assert external_data(load(tmp_path / "out.onnx"), tmp_path / "out.onnx") == ()
    constant = onnx.load(tmp_path / "out.onnx").graph.node[0].attribute[0].t
    assert np.array_equal(numpy_helper.to_array(constant), np.arange(6, dtype=np.float32).reshape(3, 2))
    for name in ("constant.data", "inner.data"):
        (tmp_path / name).write_bytes(bytes(24))
        assert file_facts(spec) != before
        before = file_facts(spec)


def test_external_data_that_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(EACCES, "Permission denied", str(path))

    spec = spec_of(Given(file=split(tmp_path)))
    monkeypatch.setattr("export.custom_file._digest", refuse)
    with pytest.raises(ExportError, match=r"has weights in .*net\.data, which cannot be read: Permission denied"):
        found(spec, Format.ONNX, Precision.FP32, "given", tmp_path / "cache", 4)


def test_external_data_is_not_taken_from_anywhere(tmp_path: Path) -> None:
    model = onnx.load(split(tmp_path), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../../etc/passwd"
    with pytest.raises(ExportError, match="has weights outside its folder"):
        file_facts(spec_of(Given(file=written(tmp_path, model))))
