"""TorchScript: traced, frozen, with a dynamic batch axis.

``torch.jit.save`` writes the paths of source files, for its error messages, and a hash over them into the archive.
Both are left out, so that the same model gives the same bytes in every checkout. Names inside also count the modules
that the process traced before, so bytes compare between first exports of a process, as `export.isolated` makes them.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from export.draw import Arrays
from export.formats.base import Exporter, Runner, example, versions
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["EXPORTER"]


def _export(module: "torch.nn.Module", spec: ModelSpec, path: Path) -> dict[str, str]:
    import torch

    jit: Any = torch.jit  # not annotated by torch
    written = BytesIO()  # through memory the archive's inner folder has a fixed name, not that of the file
    with torch.no_grad():
        traced = jit.trace(module, example(spec), check_trace=False)  # parity is the better check
        jit.save(jit.freeze(traced), written)
    _rewrite(written, path)
    return {**versions(*EXPORTER.tools), "exporter": "trace+freeze"}


def _rewrite(archive: BytesIO, path: Path) -> None:
    """Copy the archive's entries, in order, without source locations; `ZipInfo` dates them 1980."""
    with ZipFile(archive) as source, ZipFile(path, "w", ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                target.writestr(ZipInfo(entry.filename), source.read(entry))


def _open(path: Path, spec: ModelSpec) -> Runner:
    import torch

    jit: Any = torch.jit  # not annotated by torch
    module = jit.load(path, map_location="cpu")
    names = [tensor.name for tensor in spec.outputs]

    def run(inputs: Mapping[str, Any]) -> Arrays:
        tensors = [torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs]
        with torch.inference_mode():
            answers = module(*tensors)
        return {name: answer.numpy() for name, answer in zip(names, answers, strict=True)}

    return run


EXPORTER = Exporter(
    suffix=".pt",
    version=1,
    tools=("torch", "transformers"),
    runtime=("torch",),
    reproducible=True,
    export=_export,
    open=_open,
)
