"""ONNX files: how large one may be, what is in it, and running it on the CPU."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.draw import Arrays
from export.formats.base import THREADS, Runner
from nightbench.errors import ExportError

if TYPE_CHECKING:
    import onnx

__all__ = ["check_size", "graphs", "keep_quiet", "open_file"]

_LARGEST_BYTES = 2**31 - 2**20
"""What one ONNX file may hold: protobuf's 2 GiB, less room for the graph round the weights. Weights in a second file
would make it larger, and servers take one file."""


def check_size(size_bytes: int, name: str) -> None:
    """`ExportError` for a model that no single ONNX file can hold."""
    if size_bytes > _LARGEST_BYTES:
        raise ExportError(
            f"model {name} has {size_bytes / 2**30:.1f} GiB of weights and one ONNX file holds less than 2; "
            "measure it in fp16, or as torch-export"
        )


def graphs(model: "onnx.ModelProto") -> Iterator[Any]:
    """The graph, the functions, and every graph inside a node of either."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
            waiting.extend(inner for attribute in node.attribute for inner in attribute.graphs)


def keep_quiet() -> None:
    """To be called before onnxruntime is imported, which phones home by default since 1.29."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def open_file(path: Path, outputs: Sequence[str]) -> Runner:
    """Run a file by ONNX Runtime on the CPU; its ``outputs`` by name."""
    keep_quiet()
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = list(outputs)

    def run(inputs: Mapping[str, Any]) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run
