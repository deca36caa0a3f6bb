"""An archive of ``torch.export``: the model as a graph of ATen operators, its weights beside it as bare bytes.

The batch axis is dynamic. Nothing is frozen or folded: run as it is, it is what eager PyTorch does, and it is what
``torch.compile`` starts from. PyTorch says that archives may not be readable by later versions of it; ours are made
anew for every version.

Two things are left out, so that the same model gives the same bytes in every process and every checkout: stack traces,
which name source files, and PyTorch's own hash over what is written.

**No pickle.** ``torch.export.load`` reads a graph from JSON and weights from bytes, but it unpickles example inputs,
tensor subclasses and objects where an archive holds them, and loads compiled code. We leave example inputs out, and a
model that needs any of the others is refused when it is exported. (JSON of a stranger's would still be no safer:
expressions of sizes go through SymPy's parser, which evaluates them. We open what we wrote, known by its hash.)
"""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from export.axes import dynamic_batch
from export.cast import cast
from export.draw import Arrays
from export.formats.base import Exporter, Runner, Work, example, versions
from nightbench.errors import ExportError
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["EXPORTER"]

_CONFIGS = ("model_weights_config.json", "model_constants_config.json")


def _export(work: Work, path: Path) -> dict[str, str]:
    import torch

    module = cast(work.module(), work.precision)
    inputs = example(work.spec)
    with torch.no_grad():
        program = torch.export.export(module, inputs, dynamic_shapes=dynamic_batch(module, len(inputs)))
    program.example_inputs = None
    _forget_sources(program.graph_module)
    written = BytesIO()  # through memory the archive's inner folder has a fixed name, not that of the file
    torch.export.save(program, written)
    _rewrite(written, path, work.spec.name)
    return {**versions(*EXPORTER.tools), "exporter": "torch.export"}


def _forget_sources(graph_module: "torch.fx.GraphModule") -> None:
    """Of the graph and of every graph inside it: branches and loops have their own."""
    for inner in graph_module.modules():
        for node in getattr(getattr(inner, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)


def _rewrite(archive: BytesIO, path: Path, model: str) -> None:
    """Copy the archive's entries, in order; `ZipInfo` dates them 1980. `ExportError` for one that holds a pickle."""
    with ZipFile(archive) as source, ZipFile(path, "w", ZIP_STORED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith(_CONFIGS):
                _check_plain(json.loads(content), model)
            if not entry.filename.endswith("/.data/serialization_id"):
                target.writestr(ZipInfo(entry.filename), content)


def _check_plain(config: Mapping[str, Any], model: str) -> None:
    pickled = sorted(name for name, payload in config["config"].items() if payload["use_pickle"])
    if pickled:
        raise ExportError(
            f"model {model} cannot be had as torch-export: {pickled[0]!r} is no plain tensor and would be pickled; "
            "make it a torch.Tensor, or use another format"
        )


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    import torch

    module = torch.export.load(path).module()
    names = [tensor.name for tensor in spec.outputs]

    def run(inputs: Mapping[str, Any]) -> Arrays:
        tensors = [torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs]
        with torch.inference_mode():
            answer = module(*tensors)
        answers = answer if isinstance(answer, (tuple, list)) else (answer,)
        return {name: answer.numpy() for name, answer in zip(names, answers, strict=True)}

    return run


EXPORTER = Exporter(
    suffix=".pt2",
    version=1,
    tools=("torch", "transformers"),
    runtime=("torch",),
    reproducible=True,
    export=_export,
    open=_open,
)
