"""TorchScript: traced, or else compiled from source (``torch.jit.script``), and frozen, with a dynamic batch axis.

A trace holds the operators that ran for its example. A model that chooses them by its data, or by the size of its
batch, is traced without an error and answers something else afterwards. So the trace is asked about inputs that it has
not seen, at other batch sizes, and where it strays from the module it came from, the module is compiled from source
instead. Few inputs are asked: a branch that few inputs take goes unseen here and is for parity to find, over the whole
pool and all its batch sizes; one that no input of the pool takes is found by nobody.

``torch.jit.save`` writes the paths of source files, for its error messages, and a hash over them into the archive.
Both are left out, so that the same model gives the same bytes in every checkout. Names inside also count the modules
that the process traced before, so bytes compare between first exports of a process, as `export.isolated` makes them.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from export.cast import cast
from export.draw import CALIBRATION, Arrays, draw
from export.failure import one_line
from export.formats.base import Exporter, Runner, Work, example, versions
from nightbench.errors import ExportError
from nightbench.model import ModelSpec, Precision

if TYPE_CHECKING:
    import torch

__all__ = ["EXPORTER"]

_UNSEEN = (3, *(1,) * 16)
"""Batch sizes at which a trace is asked; `example` has two items. One by one, a branch that one item in four takes goes
unseen once in a hundred models."""
_STRAYS = 1e-3
"""Relative to the largest value: the trace runs the very operators of the module, so all but nothing may differ."""


def _export(work: Work, path: Path) -> dict[str, str]:
    import torch

    jit: Any = torch.jit  # not annotated by torch
    written = BytesIO()  # through memory the archive's inner folder has a fixed name, not that of the file
    # A trace holds the answer to "may this convolution use TensorFloat-32?" as a constant. With PyTorch's own, yes, an
    # fp32 artifact leaves every tolerance on a GPU (0.04 on ResNet-50, measured on an H200).
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        kind = "trace+freeze"
        script = _traced(work)
        if isinstance(script, str):
            print(f"tracing cannot follow {work.spec.name}, compiling its source instead: {script}")
            kind, script = "script+freeze", _scripted(work, script)
        jit.save(jit.freeze(script), written)
    _rewrite(written, path)
    return {**versions(*EXPORTER.tools), "exporter": kind}


def _traced(work: Work) -> Any:
    """The trace, or why there is no good one."""
    import torch

    jit: Any = torch.jit  # not annotated by torch
    module = cast(work.module(), work.precision)
    try:
        traced = jit.trace(module, example(work.spec), check_trace=False)  # it would ask about its own example
    except Exception as error:  # noqa: BLE001  whatever stops the trace is the reason to try the source
        return one_line(error)
    items = draw(work.spec, sum(_UNSEEN) + 2, CALIBRATION)
    start = 2  # the first two are the example
    for size in _UNSEEN:
        asked = [torch.from_numpy(array[start : start + size]) for array in items.values()]
        start += size
        try:
            if not _same(module(*asked), traced(*asked)):
                return f"at batch {size} it answers other than the model it was made from"
        except Exception as error:  # noqa: BLE001  likewise
            return f"it fails at batch {size}: {one_line(error)}"
    return traced


def _same(wanted: Any, got: Any) -> bool:
    import torch

    def alike(want: "torch.Tensor", have: "torch.Tensor") -> bool:
        if want.shape != have.shape or want.dtype != have.dtype:
            return False
        most = want.abs().nan_to_num(posinf=0.0).max().item() if want.numel() else 0.0
        return torch.allclose(have, want, rtol=0.0, atol=_STRAYS * most, equal_nan=True)

    pairs = zip(_tensors(wanted), _tensors(got), strict=True)
    return all(alike(want, have) for want, have in pairs)


def _scripted(work: Work, reason: str) -> Any:
    """The module compiled from its Python source. `ExportError` where that is more than TorchScript knows."""
    import torch

    jit: Any = torch.jit  # not annotated by torch
    module: Any = cast(work.module(), work.precision)
    try:
        if work.precision is Precision.FP32:
            return jit.script(module)
        module.module = jit.script(module.module)
    except Exception as error:
        raise ExportError(
            f"model {work.spec.name} is not to be had as torchscript: tracing cannot follow it ({reason}), "
            f"and its source does not compile: {one_line(error)}"
        ) from error
    # Casts are the same for all data: a trace round the compiled module holds them, and the module as it is.
    return jit.trace(module, example(work.spec), check_trace=False)


def _rewrite(archive: BytesIO, path: Path) -> None:
    """Copy the archive's entries, in order, without source locations; `ZipInfo` dates them 1980."""
    with ZipFile(archive) as source, ZipFile(path, "w", ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                target.writestr(ZipInfo(entry.filename), source.read(entry))


def _tensors(answer: Any) -> tuple[Any, ...]:
    return tuple(answer) if isinstance(answer, (tuple, list)) else (answer,)


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    import torch

    jit: Any = torch.jit  # not annotated by torch
    module = jit.load(path, map_location="cpu")
    names = [tensor.name for tensor in spec.outputs]

    def run(inputs: Mapping[str, Any]) -> Arrays:
        tensors = [torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs]
        with torch.inference_mode():
            answers = _tensors(module(*tensors))
        return {name: answer.numpy() for name, answer in zip(names, answers, strict=True)}

    return run


EXPORTER = Exporter(
    suffix=".pt",
    version=3,
    tools=("torch", "transformers"),
    runtime=("torch",),
    reproducible=True,
    export=_export,
    open=_open,
)
