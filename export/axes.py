"""How ``torch.export`` is told that a model's batch size may be any."""

from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["dynamic_batch"]


def dynamic_batch(module: "torch.nn.Module", inputs: int) -> tuple[Any, ...]:
    """``dynamic_shapes`` for ``inputs`` positional tensors whose first axis is the batch."""
    import torch

    axes = tuple({0: torch.export.Dim.DYNAMIC} for _ in range(inputs))
    kinds = {parameter.kind for parameter in signature(module.forward).parameters.values()}
    # `forward(*tensors)` is a single tuple to torch.export.
    return (axes,) if Parameter.VAR_POSITIONAL in kinds else axes
