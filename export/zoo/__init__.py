"""The models that can be measured: one module each, found by looking into this folder.

A module holds ``MODEL`` (importable without torch) and ``build(weights, seed)``, which returns the PyTorch module in
evaluation mode: positional tensors in the order of ``MODEL.inputs`` in, a tuple in the order of ``MODEL.outputs`` out.
Where inputs are more than numbers, ``draw(count, generator)`` makes them. A model of several `ModelSpec.stages` has
``stages(weights, seed)`` too, which returns a module for each by its name. Unless each stage takes by name what the
model takes or stages before it give, it also has ``run_stages(runners, inputs)``: what ``build``'s module does, with
an `export.formats.base.Runner` for each stage by its name. Modules whose name starts with an underscore are helpers.
"""

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

import numpy as np

from export.draw import POOL, Arrays, draw
from nightbench.errors import UsageError, nearest
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from export.formats.base import Runner

__all__ = ["build", "inputs", "models", "run_stages", "stages"]


@cache
def _modules() -> Mapping[str, ModuleType]:
    names = (found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    modules = (import_module(f"{__name__}.{name}") for name in sorted(names))
    return {module.MODEL.name: module for module in modules}


def models() -> Mapping[str, ModelSpec]:
    """Every model by its name. Imports no heavy library."""
    return MappingProxyType({name: module.MODEL for name, module in sorted(_modules().items())})


def build(spec: ModelSpec, weights: str) -> "torch.nn.Module":
    """The model in evaluation mode, with weights ``random`` (seeded by the spec), of a hub id or of a local folder.

    Raises `UsageError` for an unknown model and `nightbench.errors.ExportError` for weights that do not fit it.
    """
    built: torch.nn.Module = _module(spec).build(weights, spec.seed)
    return built


def stages(spec: ModelSpec, weights: str) -> "Mapping[str, torch.nn.Module]":
    """As `build`, each of the model's stages by its name."""
    built: Mapping[str, torch.nn.Module] = _module(spec).stages(weights, spec.seed)
    return built


def run_stages(spec: ModelSpec) -> "Callable[[Mapping[str, Runner], Mapping[str, NDArray[np.generic]]], Arrays] | None":
    """How stages that are not simply in a row are run; ``None`` where they are. Raises `UsageError`."""
    own: Callable[[Mapping[str, Runner], Mapping[str, NDArray[np.generic]]], Arrays] | None
    own = getattr(_module(spec), "run_stages", None)
    return own


def inputs(spec: ModelSpec, count: int, stream: int = POOL, weights: str = "random") -> Arrays:
    """``count`` seeded inputs, by name, along the first axis: those that are measured, or of another stream.

    What is asked of several models in a row may depend on what the first of them, with its ``weights``, makes of it.

    Raises `UsageError` for an unknown model, and what `export.draw.draw` does.
    """
    own = getattr(_module(spec), "draw", None)
    if own is None:
        return draw(spec, count, stream)
    generator = np.random.default_rng([spec.seed, stream])
    drawn: Arrays = own(count, generator, weights) if run_stages(spec) else own(count, generator)
    return drawn


def _module(spec: ModelSpec) -> ModuleType:
    module = _modules().get(spec.name)
    if module is None:
        raise UsageError(f"model {spec.name!r} is unknown; {nearest(spec.name, _modules())}")
    return module
