"""Models built by a user's own factory. Their code runs here, in the exporting process, and nowhere else."""

import random
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from export.draw import CALIBRATION, Arrays, draw
from export.failure import one_line
from nightbench.custom_entries import source_sha256
from nightbench.errors import ExportError
from nightbench.model import Custom, ModelSpec, Tolerance
from nightbench.parity import difference

if TYPE_CHECKING:
    import torch

__all__ = ["build", "checked_answers"]

_BATCHES = (2, 3)
"""Two, since a shape that is right at one size may have been written down for it."""
_SHARE_OF_LARGEST = 1e-3
"""Of an output's largest value: how far an item may stand from itself among others. Sums are taken in another order
for another batch, which moves fp32 by a hundredth of this."""


def build(spec: ModelSpec) -> "torch.nn.Module":
    """What the factory of ``spec`` returns, in evaluation mode, a tuple out; asked at several batch sizes.

    Random numbers are seeded before it is called, so that it returns the same weights each time: it is called twice to
    see that it does. Raises `ExportError` where it does not, cannot be called, or computes something else than ``spec``
    says, or for an item something else each time, or among others.
    """
    weights = _weights(_made(spec))  # the first is gone before there is a second: it may be large
    module = _made(spec)
    if _weights(module) != weights:
        raise ExportError(
            f"{_who(spec)} returned other weights when called again; let it load them, or draw them from PyTorch's, "
            "NumPy's or Python's random numbers, which are seeded"
        )
    for batch in _BATCHES:
        items = draw(spec, batch, CALIBRATION)
        module, answers = _asked(spec, module, items)
    _, again = _asked(spec, module, items)
    _compare(spec, again, answers, "gives other answers to the same items when asked again; let it draw no numbers")
    alone = [_asked(spec, module, {name: array[[item]] for name, array in items.items()})[1] for item in range(batch)]
    _compare(
        spec,
        {name: np.concatenate([each[name] for each in alone]) for name in answers},
        answers,
        f"mixes the items of a batch: one alone is answered otherwise than among {batch}; keep the first axis apart",
    )
    return module


def _asked(spec: ModelSpec, module: "torch.nn.Module", items: Arrays) -> "tuple[torch.nn.Module, Arrays]":
    """The answers to ``items`` by name, and the module, which returns a tuple from then on. Raises `ExportError`."""
    import torch

    count = len(next(iter(items.values())))
    # Copies, since a model may write into what it is given.
    tensors = [torch.from_numpy(array.copy()) for array in items.values()]
    try:
        with torch.no_grad():  # not inference_mode: what a module remembers from it could not be exported
            outputs = module(*tensors)
    except Exception as error:
        raise ExportError(
            f"model {spec.name} fails on {count} items of its inputs: {one_line(error)}; "
            "correct the model, or 'inputs' (their order, shape, dtype and high)"
        ) from error
    if isinstance(outputs, torch.Tensor):
        module, outputs = _tupled(module), (outputs,)
    if not isinstance(outputs, tuple) or not all(isinstance(each, torch.Tensor) for each in outputs):
        raise ExportError(
            f"model {spec.name} returns a {type(outputs).__name__}; let it return a tensor, or tensors in a tuple"
        )
    return module, checked_answers(spec, [output.numpy() for output in outputs], count)


def _compare(spec: ModelSpec, got: Arrays, want: Arrays, fault: str) -> None:
    """`ExportError` where the answers differ by more than rounding, and by more than `ModelSpec.tolerance` allows."""
    for name, wish in want.items():
        largest = float(np.abs(wish.astype(np.float64)).max(initial=0.0))
        rounding = Tolerance(max_abs=_SHARE_OF_LARGEST * largest)
        if difference(got[name], wish, rounding) and (said := difference(got[name], wish, spec.tolerance)):
            raise ExportError(f"model {spec.name} {fault} (output {name!r}: {said})")


def _weights(module: "torch.nn.Module") -> str:
    """A hash of the module's parameters and buffers, but for those that have no plain values yet, or ever."""
    import torch

    digest = sha256()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta
        if plain and not torch.nn.parameter.is_lazy(tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(errors="replace"))
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _made(spec: ModelSpec) -> "torch.nn.Module":
    import torch

    custom = spec.custom
    if custom is None or custom.factory is None:
        raise ExportError(
            f"model {spec.name} is an exported file and measured as it is; this needs a model that a factory builds"
        )
    try:
        unchanged = source_sha256(custom) == custom.sha256
    except (OSError, ValueError):
        unchanged = False
    if not unchanged:
        raise ExportError(f"{_who(spec)} has changed since this run was planned; start a new one")
    factory = _factory(spec, custom)
    random.seed(spec.seed)
    np.random.seed(spec.seed)
    torch.manual_seed(spec.seed)
    try:
        module = factory()
    except (Exception, SystemExit) as error:
        raise ExportError(f"{_who(spec)} raised {one_line(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise ExportError(f"{_who(spec)} returned a {type(module).__name__}; let it return a torch.nn.Module")
    module = module.eval().requires_grad_(False)
    types = {each.dtype for each in module.parameters() if each.is_floating_point()} - {torch.float32}
    if types:
        raise ExportError(f"{_who(spec)} returned weights in {types.pop()}; let it return them in torch.float32")
    return module


def checked_answers(spec: ModelSpec, answers: list[Any], count: int) -> Arrays:
    """The outputs by name, if they are ``count`` items of what ``spec`` says, and finite. Raises `ExportError`."""
    if len(answers) != len(spec.outputs):
        names = ", ".join(output.name for output in spec.outputs)
        raise ExportError(f"model {spec.name} gives {len(answers)} outputs, not {len(spec.outputs)} ({names})")
    for output, answer in zip(spec.outputs, answers, strict=True):
        want = (count, *output.shape), np.dtype(output.dtype.numpy)
        if (answer.shape, answer.dtype) != want:
            raise ExportError(
                f"model {spec.name}: output {output.name!r} is {answer.dtype}{answer.shape} for {count} items, and "
                f"shall be {want[1]}{want[0]}; correct the model or its 'outputs' (a shape must not hang on values)"
            )
        if not np.isfinite(answer).all():
            raise ExportError(f"model {spec.name}: output {output.name!r} is not finite in the original itself")
    return {output.name: answer for output, answer in zip(spec.outputs, answers, strict=True)}


def _who(spec: ModelSpec) -> str:
    return f"model {spec.name}: factory {spec.custom.factory if spec.custom else ''}"


def _factory(spec: ModelSpec, custom: Custom) -> Callable[[], object]:
    name, _, function = (custom.factory or "").partition(":")
    module = _import(spec, name, custom.folder)
    factory = getattr(module, function, None)
    if not callable(factory):
        raise ExportError(f"{_who(spec)} is not there: {module.__file__} has no function {function!r}")
    found: Callable[[], object] = factory
    return found


def _import(spec: ModelSpec, name: str, folder: Path) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: a file of theirs called `types.py` must not stand in for Python's
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:
        raise ExportError(f"{_who(spec)} cannot be imported: {one_line(error)}") from error
    if not Path(module.__file__ or "/").resolve().is_relative_to(folder.resolve()):
        raise ExportError(f"{_who(spec)} is hidden by {module.__file__}, which has the same name; rename the module")
    return module


def _tupled(module: "torch.nn.Module") -> "torch.nn.Module":
    """One that returns a lone tensor, as the zoo's are: a tuple of tensors out, however few."""
    import torch

    class Tupled(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (self.inner(*tensors),)

    return Tupled(module).eval()
