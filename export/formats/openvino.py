"""OpenVINO's intermediate representation, in a folder: ``model.xml`` the graph, ``model.bin`` the weights.

It is read from our ONNX file, so that both have the same operators: fp16 from the fp32 file with its weights compressed
(OpenVINO widens them again, or not, as its device likes), int8 from the statically quantised one, whose pairs of
quantisers OpenVINO's CPU plugin fuses by itself. Which release wrote it is told beside the artifact and not in it:
another may well write the same graph.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.draw import Arrays
from export.formats import onnx
from export.formats.base import THREADS, Exporter, Runner, Work, versions
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision

__all__ = ["EXPORTER"]

_GRAPH = "model.xml"
_RELEASE = re.compile(r'\t*<info name="OpenVINO Runtime" value="[^"]*" />\n')


def _export(work: Work, path: Path) -> dict[str, str]:
    openvino = _imported()
    source = Precision.INT8 if work.precision is Precision.INT8 else Precision.FP32
    model = openvino.Core().read_model(work.source(Format.ONNX, source))
    path.mkdir()
    graph = path / _GRAPH
    openvino.save_model(model, graph, compress_to_fp16=work.precision is Precision.FP16)
    graph.write_text(_RELEASE.sub("", graph.read_text(encoding="utf-8")), encoding="utf-8")
    return {**versions(*EXPORTER.tools), "exporter": "save_model", "source": f"{Format.ONNX} {source}"}


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    graph = path / _GRAPH
    if not graph.is_file():
        raise ExportError(f"OpenVINO folder {path} has no {_GRAPH}; export it again")
    openvino = _imported()
    properties = {
        "INFERENCE_NUM_THREADS": THREADS,
        # Left to itself it takes bfloat16 where the CPU has it, and its answers leave every tolerance.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(graph, "CPU", properties)
    outputs = {tensor.name: compiled.output(tensor.name) for tensor in spec.outputs}

    def run(inputs: Mapping[str, Any]) -> Arrays:
        answer = compiled(dict(inputs))
        return {name: answer[output] for name, output in outputs.items()}

    return run


def _imported() -> Any:
    # Importing OpenVINO alone would send its makers an event; without this package it has nothing to send with.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


EXPORTER = Exporter(
    suffix="",
    # Both only ever rise, so that their sum is new whenever either is.
    version=1 + onnx.EXPORTER.version,
    tools=(*onnx.EXPORTER.tools, "openvino"),
    runtime=("openvino",),
    reproducible=True,
    export=_export,
    open=_open,
)
