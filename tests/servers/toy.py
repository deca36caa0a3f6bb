"""A tiny model whose answers are known without any of the libraries under test."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nightbench.model import Artifact, DType, Format, ModelSpec, Precision, TensorSpec, Tolerance

WEIGHT = np.linspace(-1, 1, 12 * 5, dtype="<f4").reshape(12, 5)

MODEL = ModelSpec(
    name="toy",
    family="toy",
    version=1,
    inputs=(TensorSpec("image", DType.FP32, (3, 4)), TensorSpec("ids", DType.INT64, (3,))),
    outputs=(TensorSpec("scores", DType.FP32, (5,)), TensorSpec("doubled", DType.INT64, (3,))),
    tolerance=Tolerance(1e-5, 1e-5),
)


def reference(image: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image.reshape(len(image), 12) @ WEIGHT, ids * 2


def inputs(batch: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, 3, 4)).astype("<f4"), rng.integers(0, 99, (batch, 3)).astype("<i8")


def _torch() -> tuple[Any, tuple[Any, Any]]:
    """The model for PyTorch, and an example of its inputs."""
    import torch

    class Toy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.from_numpy(WEIGHT.copy()))

        def forward(self, image: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image.flatten(1) @ self.weight, ids * 2

    return Toy().eval(), (torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64))


def export_torchscript(path: Path) -> None:
    import torch

    module, example = _torch()
    jit: Any = torch.jit  # not annotated by torch
    jit.save(jit.trace(module, example), str(path))


def export_torch_export(path: Path) -> None:
    import torch

    module, example = _torch()
    batch = {0: torch.export.Dim.DYNAMIC}
    torch.export.save(torch.export.export(module, example, dynamic_shapes=(batch, batch)), path)


def export_onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def tensor(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", *shape])

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
            helper.make_node("Add", ["ids", "ids"], ["doubled"]),
        ],
        "toy",
        [tensor("image", TensorProto.FLOAT, 3, 4), tensor("ids", TensorProto.INT64, 3)],
        [tensor("scores", TensorProto.FLOAT, 5), tensor("doubled", TensorProto.INT64, 3)],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


_EXPORTS: Mapping[Format, tuple[str, Callable[[Path], None]]] = {
    Format.ONNX: (".onnx", export_onnx),
    Format.TORCHSCRIPT: (".pt", export_torchscript),
    Format.TORCH_EXPORT: (".pt2", export_torch_export),
}


def artifact(format_: Format, folder: Path) -> Artifact:
    suffix, export = _EXPORTS.get(format_, _EXPORTS[Format.TORCHSCRIPT])
    path = folder / f"toy{suffix}"
    export(path)
    return Artifact("toy", format_, Precision.FP32, "random", path, "0" * 64, path.stat().st_size)
