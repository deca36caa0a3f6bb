"""A PyTorch module as one ONNX file, with a dynamic batch axis, checked by ``onnx.checker``.

The exporter is the one built on ``torch.export``; where that cannot follow a model's Python code, the older tracing
exporter is used and recorded as such. Names of source files, stack traces, versions and generated axis names are taken
out of the graph, so that the same model gives the same bytes in every process and every checkout; shapes are inferred
anew afterwards.

Graphs are written as these exporters leave them. onnxslim (0.1.98) was tried: it took no node from ResNet-50 or
MobileNetV2 0.35, and 25 of 119 from a BERT of two layers, which ONNX Runtime then ran in 93 % of the time on one
thread. It is left out: one more tool between a model and its figures, for what one small model gained.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from export.axes import dynamic_batch
from export.failure import one_line
from export.formats.base import example
from export.onnx_file import check_size, graphs
from nightbench.errors import ExportError
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["facts_of", "finish", "write"]

_OPSET = 18
"""The opset ``torch.export`` writes without converting; every runtime we measure reads it."""


def write(module: "torch.nn.Module", spec: ModelSpec, path: Path) -> dict[str, str]:
    """Write ``module``, whose inputs and outputs are those of ``spec``; returns which exporter did it, and the opset.

    Raises `ExportError` for one that no exporter can follow, that is too large for one file, or names tensors alike.
    """
    import onnx

    shared = {tensor.name for tensor in spec.inputs} & {tensor.name for tensor in spec.outputs}
    if shared:
        raise ExportError(
            f"model {spec.name} calls an input and an output {min(shared)!r}; rename one, ONNX knows them by name"
        )
    check_size(sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers())), spec.name)
    try:
        kind = "torch.export"
        _by_torch_export(module, spec, path)
    except Exception as first:  # noqa: BLE001  whatever stops one exporter is the reason to try the other
        print(f"torch.export cannot follow {spec.name}, tracing it instead: {one_line(first)}")
        kind = "tracing"
        try:
            _by_tracing(module, spec, path)
        except Exception as second:
            raise ExportError(
                f"model {spec.name} cannot be had as onnx: torch.export fails ({one_line(first)}), "
                f"and so does tracing ({one_line(second)})"
            ) from second
    model = onnx.load(path)
    finish(model, path)
    return {"exporter": kind, **facts_of(model)}


def finish(model: "onnx.ModelProto", path: Path) -> None:
    """Normalise a model whose batch axis is dynamic, infer its shapes, check it and write it."""
    import onnx

    _normalise(model)
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def facts_of(model: "onnx.ModelProto") -> dict[str, str]:
    """The versions of the standard that a model is written in."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    return {"opset": str(opset), "ir": str(model.ir_version)}


def _by_torch_export(module: "torch.nn.Module", spec: ModelSpec, path: Path) -> None:
    import torch

    inputs = example(spec)
    torch.onnx.export(
        module,
        inputs,
        path,
        dynamo=True,
        dynamic_shapes=dynamic_batch(module, len(inputs)),
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
        opset_version=_OPSET,
        external_data=False,
        verbose=False,
    )


def _by_tracing(module: "torch.nn.Module", spec: ModelSpec, path: Path) -> None:
    import torch

    names = [tensor.name for tensor in (*spec.inputs, *spec.outputs)]
    torch.onnx.export(
        module,
        example(spec),
        path,
        dynamo=False,
        dynamic_axes={name: {0: "batch"} for name in names},
        input_names=names[: len(spec.inputs)],
        output_names=names[len(spec.inputs) :],
        opset_version=_OPSET,
    )


def _normalise(model: "onnx.ModelProto") -> None:
    """Take out what depends on where, when and by which release it was written; call the batch axis ``batch``."""
    model.ClearField("metadata_props")
    model.ClearField("producer_version")  # told beside the artifact: another release may well write the same graph
    model.doc_string = ""
    used = {""}
    for graph in graphs(model):
        graph.ClearField("value_info")  # intermediate shapes, written with generated axis names
        used |= {node.domain for node in graph.node}
        parts = [graph, *graph.node]
        if graph is model.graph:
            parts += [*graph.initializer, *graph.input, *graph.output]
        for part in parts:
            part.ClearField("metadata_props")
            part.doc_string = ""
    # ONNX Runtime imports every set of operators it knows into what it rewrites.
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
