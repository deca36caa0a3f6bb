"""A model's PyTorch module and inputs, whether it is of the zoo or of the user's own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from export import custom, zoo
from export.draw import POOL, Arrays, draw
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["build", "inputs", "stages"]


def build(spec: ModelSpec, weights: str) -> "torch.nn.Module":
    """The model in fp32 and evaluation mode, anew at each call. Raises what `export.zoo.build` does."""
    return zoo.build(spec, weights) if spec.custom is None else custom.build(spec)


def stages(spec: ModelSpec, weights: str) -> "Mapping[str, torch.nn.Module]":
    """As `build`, each of the model's stages by its name."""
    return zoo.stages(spec, weights) if spec.custom is None else {}


def inputs(spec: ModelSpec, count: int, weights: str) -> Arrays:
    """The ``count`` seeded inputs that are measured. Raises what `export.zoo.inputs` does."""
    return zoo.inputs(spec, count, weights=weights) if spec.custom is None else draw(spec, count, POOL)
