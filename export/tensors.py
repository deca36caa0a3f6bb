"""What tensors an artifact takes and gives, by its own word, held against its model's spec."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from export.draw import CALIBRATION, draw
from export.formats.base import exporter
from export.signature import Declared, declared, load
from nightbench.errors import ExportError
from nightbench.model import DType, Format, ModelSpec, TensorSpec
from nightbench.signature import disagreement

__all__ = ["Tensors", "tensors"]

Tensors = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]
"""Inputs and outputs without their batch axis; an extent that the artifact leaves open is -1."""


def tensors(path: Path, file_format: Format, spec: ModelSpec) -> Tensors | None:
    """The artifact's inputs and outputs; ``None`` for formats that only parity speaks of.

    ONNX is read from its graph. TorchScript holds neither names nor types: it is run on two seeded items, and what it
    takes and gives is named by its place, as every server does. Of stages these are the inputs of the first and the
    outputs of the last, where they are handed on as they are; each stage agrees with its own spec.

    Loads onnx or torch: for the child process. Raises `ExportError` where artifact and spec differ, or where the batch
    axis is not open.
    """
    match file_format:
        case Format.ONNX:
            return _agreed(spec, _onnx(path, spec))
        case Format.TORCHSCRIPT:
            return _agreed(spec, _by_running(path, file_format, spec))
        case Format.STAGES:
            found = [_stage(path, spec, number) for number in range(len(spec.stages))]
            if {each.name for each in spec.inputs} != {each.name for each in spec.stages[0].inputs}:
                return None  # more than handing tensors on lies between them
            return _agreed(spec, (found[0][0], found[-1][1]))
        case _:
            return None


def _agreed(spec: ModelSpec, found: Tensors) -> Tensors:
    if sentence := disagreement(spec, *found):
        raise ExportError(sentence)
    return found


def _stage(path: Path, spec: ModelSpec, number: int) -> Tensors:
    stage = spec.stages[number]
    own = replace(spec, name=f"{spec.name}, stage {stage.name}", inputs=stage.inputs, outputs=stage.outputs)
    return _agreed(own, _onnx(path / f"{stage.name}.onnx", own))


def _onnx(path: Path, spec: ModelSpec) -> Tensors:
    inputs, outputs = declared(load(path), path)
    return _named(inputs, spec.inputs), _named(outputs, spec.outputs)


def _named(found: Sequence[Declared], said: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """A tensor that declares no shape at all takes the spec's, with every extent open."""
    ranks = {tensor.name: len(tensor.shape) for tensor in said}
    return tuple(
        TensorSpec(each.name, each.dtype, tuple(-1 if size is None else size for size in dims))
        for each in found
        for dims in [(None,) * ranks.get(each.name, 0) if each.dims is None else each.dims]
    )


def _by_running(path: Path, file_format: Format, spec: ModelSpec) -> Tensors:
    asked = draw(spec, 2, CALIBRATION)
    answers = exporter(file_format).open(path, spec, {})(asked)
    given: list[TensorSpec] = []
    for name, array in answers.items():
        kind = next((each for each in DType if array.dtype == each.numpy), None)
        if kind is None or array.shape[:1] != (2,):
            raise ExportError(
                f"model {spec.name}: its exported file gives {name} as {array.dtype}{list(array.shape)} for two items; "
                f"it needs a batch axis and one of {', '.join(DType)}"
            )
        given.append(TensorSpec(name, kind, array.shape[1:]))
    return spec.inputs, tuple(given)
