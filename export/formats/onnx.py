"""ONNX, in one file, with a dynamic batch axis.

fp32 is the model as exported (`export.onnx_graph`); fp16 is exported from the model cast to it, between inputs and
outputs of the types of the spec; int8 and int8-dynamic are quantised from the fp32 file (`export.quantise`). There is
no bf16: ONNX Runtime's CPU provider has no bfloat16 arithmetic, and unlike for fp16 it puts no casts round operators
that it lacks, so that such a model does not load (1.31, and issue 28768 of microsoft/onnxruntime). In fp16 the CPU
computes in fp32 whatever it has no fp16 kernel for, so that fp16 is smaller here and not faster.
"""

from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from export import zoo
from export.cast import cast
from export.draw import CALIBRATION, Arrays, draw
from export.formats.base import Exporter, Runner, Work, versions
from export.onnx_file import open_file
from export.onnx_graph import write
from export.quantise import quantise_dynamic, quantise_static
from nightbench.model import Format, ModelSpec, Precision

__all__ = ["EXPORTER"]

_RUNTIME = ("onnxruntime-gpu", "onnxruntime")
_INSTALLED = next((name for name in _RUNTIME if any(distributions(name=name))), _RUNTIME[0])
"""Which of the two this environment has: it quantises, so its version may change the bytes."""
_CALIBRATION_ITEMS = 32


def _export(work: Work, path: Path) -> dict[str, str]:
    return {**versions(*EXPORTER.tools), **_written(work, path)}


def _written(work: Work, path: Path) -> dict[str, str]:
    spec = work.spec
    match work.precision:
        case Precision.INT8:
            facts = quantise_static(work.source(Format.ONNX, Precision.FP32), _examples(spec), path)
            return {"exporter": "quantize_static", "calibration": f"{_CALIBRATION_ITEMS} items, min-max", **facts}
        case Precision.INT8_DYNAMIC:
            facts = quantise_dynamic(work.source(Format.ONNX, Precision.FP32), path)
            return {"exporter": "quantize_dynamic", **facts}
        case _:
            return write(cast(work.module(), work.precision), spec, path)


def _examples(spec: ModelSpec) -> Arrays:
    """Inputs like those that are measured, none of which is among them."""
    if spec.custom is None:
        return zoo.inputs(spec, _CALIBRATION_ITEMS, CALIBRATION)
    return draw(spec, _CALIBRATION_ITEMS, CALIBRATION)


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    return open_file(path, [tensor.name for tensor in spec.outputs])


EXPORTER = Exporter(
    suffix=".onnx",
    version=3,
    tools=("torch", "transformers", "onnx", "onnx-ir", "onnxscript", "numpy", _INSTALLED),
    runtime=_RUNTIME,
    reproducible=True,
    export=_export,
    open=_open,
)
