"""What an ONNX file takes and gives, read without running it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.failure import one_line
from export.onnx_file import graphs
from nightbench.custom_entries import Signature, usual_draw
from nightbench.errors import ExportError
from nightbench.model import DType, TensorSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["LARGEST_BYTES", "Declared", "declared", "external_data", "external_tensors", "load", "read_signature"]

LARGEST_BYTES = 2**29
"""Of a file that is read outside the process that exports, which alone has a limit on its memory: reading one takes
about twice its size."""


def load(path: Path) -> "onnx.ModelProto":
    """The model, without data that lies in other files. Raises `ExportError`."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf's own errors have no common class
        raise ExportError(
            f"{path} is no ONNX model, or cut off ({one_line(error)}); export or copy it again"
        ) from error
    if not model.ir_version or not model.graph.node:
        raise ExportError(f"{path} is no ONNX model, or an empty one; export it again")
    return model


def external_data(model: "onnx.ModelProto", path: Path) -> tuple[Path, ...]:
    """The files beside ``path`` that hold weights of its model. Raises `ExportError` where one is not there."""
    from onnx.external_data_helper import ExternalDataInfo

    names = {ExternalDataInfo(each).location for each in external_tensors(model)}
    for name in sorted(names):
        file = path.parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ExportError(f"{path} has weights outside its folder, in {name}; export it again")
        if not file.is_file():
            raise ExportError(f"{path} has weights in {name}, which is not beside it; copy it there too")
    return tuple(path.parent / name for name in sorted(names))


def external_tensors(model: "onnx.ModelProto") -> tuple["onnx.TensorProto", ...]:
    """Every tensor that keeps its values in another file: weights and constants, of inner graphs and functions too."""
    from onnx.external_data_helper import uses_external_data

    tensors: list[onnx.TensorProto] = []
    for graph in graphs(model):
        tensors += getattr(graph, "initializer", ())  # a function has none
        for attribute in (each for node in graph.node for each in node.attribute):
            tensors += (attribute.t, *attribute.tensors)
    return tuple(each for each in tensors if uses_external_data(each))


def read_signature(path: Path) -> Signature:
    """Inputs and outputs of the file, the batch axis left out. Raises `ExportError`, also for one too large to read."""
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from error
    if size_bytes > LARGEST_BYTES:
        raise ExportError(
            f"{path} has {size_bytes / 2**30:.1f} GiB, and what it takes and gives is only read from files of up to "
            f"{LARGEST_BYTES / 2**30:.1f}; give 'inputs' and 'outputs'"
        )
    inputs, outputs = declared(load(path), path)
    return (
        tuple(usual_draw(_sized(each, path)) for each in inputs),
        tuple(_sized(each, path) for each in outputs),
    )


@dataclass(frozen=True, slots=True)
class Declared:
    """One tensor as a file declares it."""

    name: str
    dtype: DType
    dims: tuple[int | None, ...] | None
    """Without the batch axis; ``None`` for an axis of any size, and for any number of axes."""

    def admits(self, tensor: TensorSpec) -> bool:
        if tensor.dtype is not self.dtype:
            return False
        if self.dims is None:
            return True
        fits = all(dim in {None, size} for dim, size in zip(self.dims, tensor.shape, strict=False))
        return len(self.dims) == len(tensor.shape) and fits


def declared(model: "onnx.ModelProto", path: Path) -> tuple[tuple[Declared, ...], tuple[Declared, ...]]:
    """Inputs and outputs of a model that was read from ``path``.

    Raises `ExportError` for a type nightbench has no name for, and a batch axis that is fixed or not there.
    """
    weights = {each.name for each in model.graph.initializer}  # old exporters list them among the inputs
    inputs = tuple(_declared(each, path) for each in model.graph.input if each.name not in weights)
    return inputs, tuple(_declared(each, path) for each in model.graph.output)


def _declared(value: Any, path: Path) -> Declared:
    import onnx

    who = f"{path}: tensor {value.name!r}"
    known = {
        onnx.TensorProto.FLOAT: DType.FP32,
        onnx.TensorProto.FLOAT16: DType.FP16,
        onnx.TensorProto.INT64: DType.INT64,
        onnx.TensorProto.INT32: DType.INT32,
        onnx.TensorProto.UINT8: DType.UINT8,
    }
    kind = value.type.tensor_type.elem_type
    if kind not in known:
        name = onnx.TensorProto.DataType.Name(kind)
        raise ExportError(f"{who} is of type {name}; nightbench knows {', '.join(known.values())}")
    if not value.type.tensor_type.HasField("shape"):
        return Declared(value.name, known[kind], None)
    dims = value.type.tensor_type.shape.dim
    if not dims:
        raise ExportError(f"{who} has no batch axis; export it with a first axis that is dynamic")
    if dims[0].HasField("dim_value"):
        size = dims[0].dim_value
        raise ExportError(f"{who} has a batch axis fixed at {size}; export it with a first axis that is dynamic")
    sizes = tuple(each.dim_value if each.HasField("dim_value") else None for each in dims[1:])
    return Declared(value.name, known[kind], sizes)


def _sized(tensor: Declared, path: Path) -> TensorSpec:
    sizes = tuple(size for size in tensor.dims or () if size is not None)
    if tensor.dims is None or len(sizes) < len(tensor.dims):
        raise ExportError(
            f"{path}: tensor {tensor.name!r} has axes of any size; "
            "give 'inputs' and 'outputs' with the shapes to be measured"
        )
    return TensorSpec(tensor.name, tensor.dtype, sizes)
