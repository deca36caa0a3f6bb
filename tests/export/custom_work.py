"""Models of a user's own, made up: a specification, a small ONNX file, and an export of either."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.isolated import Prepared, prepare
from nightbench.custom_entries import source_sha256
from nightbench.model import Custom as Given
from nightbench.model import DType, Format, ModelSpec, Precision, TensorSpec, Tolerance

__all__ = ["SHAPES", "onnx_model", "spec_of", "tried", "written"]

SHAPES = {"inputs": (TensorSpec("x", DType.FP32, (3,)),), "outputs": (TensorSpec("y", DType.FP32, (2,)),)}


def spec_of(given: Given, name: str = "mine") -> ModelSpec:
    given = replace(given, sha256=source_sha256(given))
    return ModelSpec(name, "custom", 1, **SHAPES, tolerance=Tolerance(1e-4), default_weights="given", custom=given)


def tried(spec: ModelSpec, folder: Path, file_format: Format, timeout_s: float = 300, gib: float = 8) -> Prepared:
    return prepare(
        spec,
        file_format,
        Precision.FP32,
        spec.default_weights,
        cache=folder / "cache",
        pool_count=4,
        batches=(1, 3),
        log=folder / "log",
        timeout_s=timeout_s,
        memory_bytes=int(gib * 2**30),
    )


def onnx_model(batch: int | str = "batch", size: int | str = 2, kind: int = TensorProto.FLOAT) -> "onnx.ModelProto":
    weight = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", kind, [batch, 3])],
        [helper.make_tensor_value_info("y", kind, [batch, size])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def written(folder: Path, model: "onnx.ModelProto") -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path
