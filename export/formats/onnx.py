"""ONNX, in one file, with a dynamic batch axis, checked by ``onnx.checker``.

The exporter is the one built on ``torch.export``; where that cannot follow a model's Python code, the older tracing
exporter is used and recorded as such. Names of source files, stack traces and generated axis names are taken out of
the graph, so that the same model gives the same bytes in every process and every checkout.
"""

import os
from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.draw import Arrays
from export.failure import one_line
from export.formats.base import THREADS, Exporter, Runner, example, versions
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["EXPORTER"]

_OPSET = 18
"""The opset ``torch.export`` writes without converting; every runtime we measure reads it."""


def _export(module: "torch.nn.Module", spec: ModelSpec, path: Path) -> dict[str, str]:
    import onnx

    try:
        kind = "torch.export"
        _by_torch_export(module, spec, path)
    except Exception as error:  # noqa: BLE001  whatever stops one exporter is the reason to try the other
        print(f"torch.export cannot follow {spec.name}, tracing it instead: {one_line(error)}")
        kind = "tracing"
        _by_tracing(module, spec, path)
    model = onnx.load(path)
    _normalise(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    opset = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    return {
        **versions(*EXPORTER.tools),
        "exporter": kind,
        "opset": str(opset),
        "ir": str(model.ir_version),
    }


def _by_torch_export(module: "torch.nn.Module", spec: ModelSpec, path: Path) -> None:
    import torch

    inputs = example(spec)
    batch = {0: torch.export.Dim.DYNAMIC}
    axes = tuple(batch for _ in inputs)
    torch.onnx.export(
        module,
        inputs,
        path,
        dynamo=True,
        dynamic_shapes=(axes,) if _takes_any_number(module) else axes,
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
        opset_version=_OPSET,
        external_data=False,
        verbose=False,
    )


def _takes_any_number(module: "torch.nn.Module") -> bool:
    """Whether ``forward`` is written with ``*tensors``, which ``torch.export`` sees as a single tuple."""
    kinds = {parameter.kind for parameter in signature(module.forward).parameters.values()}
    return Parameter.VAR_POSITIONAL in kinds


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


def _graphs(model: "onnx.ModelProto") -> Iterator[Any]:
    """The graph, the functions, and every graph inside a node of either."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
            waiting.extend(inner for attribute in node.attribute for inner in attribute.graphs)


def _normalise(model: "onnx.ModelProto") -> None:
    """Take out what depends on where and when it was exported, and call the batch axis ``batch``."""
    model.ClearField("metadata_props")
    model.doc_string = ""
    for graph in _graphs(model):
        graph.ClearField("value_info")  # intermediate shapes, written with generated axis names
        parts = [graph, *graph.node]
        if graph is model.graph:
            parts += [*graph.initializer, *graph.input, *graph.output]
        for part in parts:
            part.ClearField("metadata_props")
            part.doc_string = ""
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"


def _open(path: Path, spec: ModelSpec) -> Runner:
    # It phones home by default since 1.29.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in spec.outputs]

    def run(inputs: Mapping[str, Any]) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


EXPORTER = Exporter(
    suffix=".onnx",
    version=1,
    tools=("torch", "transformers", "onnx", "onnxscript"),
    runtime=("onnxruntime-gpu", "onnxruntime"),
    reproducible=True,
    export=_export,
    open=_open,
)
