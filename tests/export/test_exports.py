"""Real exports of the tiny model: they load, they are equal in every process, and parity notices what is wrong."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import isolated
from export.isolated import Prepared
from export.parity import check
from export.pool import load_pool
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Tolerance
from nightbench.stopping import Stopped
from tests.export.conftest import BATCHES, COUNT, FORMATS, prepared_in

Exports = Mapping[Format, Prepared]


@pytest.mark.parametrize("file_format", FORMATS)
def test_parity_holds_at_every_batch_size(exports: Exports, file_format: Format) -> None:
    results = exports[file_format].parity
    assert [result.batch for result in results] == list(BATCHES)
    assert all(result.passed and result.top1_agreement == 1 for result in results)
    assert all(result.max_abs < 1e-5 and result.cosine > 0.999999 for result in results)


@pytest.mark.parametrize("file_format", FORMATS)
def test_another_process_gives_the_same_bytes(exports: Exports, file_format: Format, tmp_path: Path) -> None:
    again = prepared_in(tmp_path, file_format)
    assert not again.cached
    assert again.artifact.sha256 == exports[file_format].artifact.sha256
    assert again.pool.sha256 == exports[file_format].pool.sha256


@pytest.mark.parametrize("file_format", FORMATS)
def test_nothing_of_this_machine_is_inside(exports: Exports, file_format: Format) -> None:
    path = exports[file_format].artifact.path
    for file in path.rglob("*") if path.is_dir() else [path]:
        content = file.read_bytes()
        assert b"site-packages" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


def test_a_second_night_starts_no_process(exports: Exports, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(isolated, "run_child", refuse)
    for file_format, first in exports.items():
        second = prepared_in(folder, file_format)
        assert second == replace(first, cached=True)


def test_it_stops_when_told_to(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        prepared_in(tmp_path, Format.ONNX, should_stop=lambda: True)
    assert list(tmp_path.rglob("manifest.json")) == []


def test_a_corrupt_artifact_is_rebuilt_and_reported(exports: Exports, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "cache", tmp_path / "cache")
    first = exports[Format.TORCHSCRIPT].artifact
    path = tmp_path / first.path.relative_to(folder)
    path.write_bytes(path.read_bytes()[:-100])
    again = prepared_in(tmp_path, Format.TORCHSCRIPT)
    assert again.rebuilt is not None
    assert first.sha256 in again.rebuilt
    assert again.artifact.sha256 == first.sha256
    assert again.artifact.path.read_bytes() == first.path.read_bytes()


def test_the_manifest_says_how_and_what(exports: Exports, tiny: ModelSpec) -> None:
    path = exports[Format.ONNX].artifact.path.with_name("manifest.json")
    facts = json.loads(path.read_text())["facts"]
    assert {"torch", "onnx", "opset", "seed", "exporter"} <= facts["exporter"].keys()
    assert [(item["name"], item["dtype"], tuple(item["shape"])) for item in facts["inputs"]] == [
        (tensor.name, tensor.dtype, tensor.shape) for tensor in tiny.inputs
    ]


def test_onnx_names_and_batch_axis(exports: Exports, tiny: ModelSpec) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exports[Format.ONNX].artifact.path, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", ["batch", 3, 16, 16])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("scores", ["batch", 10])]


def test_pool_items_differ_in_and_out(exports: Exports, tiny: ModelSpec) -> None:
    inputs, outputs = load_pool(exports[Format.ONNX].pool)
    assert inputs["image"].shape == (COUNT, 3, 16, 16)
    assert len(np.unique(outputs["scores"], axis=0)) == COUNT
    assert 0.3 < outputs["scores"].astype(float).std() < 3


def test_a_changed_weight_fails_parity(exports: Exports, tiny: ModelSpec, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    good = exports[Format.ONNX]
    model = onnx.load(good.artifact.path)
    bias = next(tensor for tensor in model.graph.initializer if tuple(tensor.dims) == (10,))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1e-3), bias.name))
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    results = check(tiny, replace(good.artifact, path=path), good.pool, BATCHES)
    assert [result.passed for result in results] == [False, False]
    assert results[0].max_abs == pytest.approx(1e-3, rel=0.05)
    assert "differs by up to 0.001 from the reference" in results[0].detail


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_unreadable_artifact_is_a_failed_result(
    exports: Exports, tiny: ModelSpec, tmp_path: Path, file_format: Format
) -> None:
    path = tmp_path / "broken"
    path.write_bytes(b"no model at all")
    good = exports[file_format]
    results = check(tiny, replace(good.artifact, path=path), good.pool, (1,))
    assert not results[0].passed
    assert results[0].detail.startswith("the artifact does not load: ")


def test_a_fixed_batch_axis_fails_only_the_other_sizes(exports: Exports, tiny: ModelSpec, tmp_path: Path) -> None:
    import onnx

    good = exports[Format.ONNX]
    model = onnx.load(good.artifact.path)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "fixed.onnx"
    onnx.save(model, path)
    results = check(tiny, replace(good.artifact, path=path), good.pool, (1, 4))
    assert [result.passed for result in results] == [True, False]
    assert "fails at batch 4" in results[1].detail


def test_a_failed_parity_is_returned_not_raised(exports: Exports, tiny: ModelSpec) -> None:
    strict = replace(tiny, tolerance=Tolerance(0, 0))
    good = exports[Format.ONNX]
    assert not any(result.passed for result in check(strict, good.artifact, good.pool, BATCHES))


def test_weights_nobody_has_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="model tiny_cnn has no weights 'org/none'; use 'random' ") as caught:
        prepared_in(tmp_path, Format.ONNX, weights="org/none")
    assert "\n" not in str(caught.value)
    assert "Traceback" in (tmp_path / "export.log").read_text()


def test_fp32_in_torchscript_is_fp32_on_a_gpu_too(exports: Exports) -> None:
    """A traced convolution says itself whether it may use TensorFloat-32, and said yes."""
    import torch

    jit: Any = torch.jit
    graph = jit.load(exports[Format.TORCHSCRIPT].artifact.path).inlined_graph
    convolutions = [node for node in graph.nodes() if node.kind() == "aten::_convolution"]
    assert convolutions
    assert [list(node.inputs())[-1].toIValue() for node in convolutions] == [False] * len(convolutions)
