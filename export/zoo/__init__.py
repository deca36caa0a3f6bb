"""The models that can be measured: one module each, found by looking into this folder.

A module holds ``MODEL`` (importable without torch) and ``build(weights, seed)``, which returns the PyTorch module in
evaluation mode: positional tensors in the order of ``MODEL.inputs`` in, a tuple in the order of ``MODEL.outputs`` out.
Where inputs are more than numbers, ``draw(count, generator)`` makes them. Modules whose name starts with an underscore
are helpers.
"""

import pkgutil
from collections.abc import Mapping
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

__all__ = ["build", "inputs", "models"]


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


def inputs(spec: ModelSpec, count: int) -> Arrays:
    """The ``count`` seeded inputs that are measured, by name, along the first axis.

    Raises `UsageError` for an unknown model, and what `export.draw.draw` does.
    """
    own = getattr(_module(spec), "draw", None)
    if own is None:
        return draw(spec, count, POOL)
    drawn: Arrays = own(count, np.random.default_rng([spec.seed, POOL]))
    return drawn


def _module(spec: ModelSpec) -> ModuleType:
    module = _modules().get(spec.name)
    if module is None:
        raise UsageError(f"model {spec.name!r} is unknown; {nearest(spec.name, _modules())}")
    return module
