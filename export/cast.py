"""A model held and computed in half the bits, behind inputs and outputs of the types it had."""

from typing import TYPE_CHECKING

from nightbench.errors import ExportError
from nightbench.model import Precision

if TYPE_CHECKING:
    import torch

__all__ = ["cast"]


def cast(module: "torch.nn.Module", precision: Precision) -> "torch.nn.Module":
    """``module``, made in fp32, for tensors as before and with weights and arithmetic in ``precision``.

    Its floating parameters and buffers are converted in place. Floating inputs are rounded on their way in; outputs
    that come out in ``precision`` leave in fp32. Integers are untouched, and so are outputs of any other type, which
    ``module`` made on purpose. A tensor that ``module`` holds as a plain attribute, or makes in fp32 as it runs, stays
    in fp32, and PyTorch refuses to mix the two in a matrix product: an error of the exporter, never a silent one.

    A value that is too large for fp16 (65504) becomes infinite; parity is what tells whether that matters.
    `ExportError` for int8, which takes more than a cast. What is returned holds the converted one as ``module``.
    """
    import torch

    if precision is Precision.FP32:
        return module
    if precision not in {Precision.FP16, Precision.BF16}:
        raise ExportError(f"{precision} is no cast of a model's tensors but a quantisation; use fp16 or bf16")
    low = torch.float16 if precision is Precision.FP16 else torch.bfloat16

    class Cast(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Not `to(low)`, which would take the imaginary part off complex tensors.
            self.module = module.half() if precision is Precision.FP16 else module.bfloat16()

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            answer = self.module(*(each.to(low) if each.is_floating_point() else each for each in tensors))
            if isinstance(answer, torch.Tensor):
                return _widened(answer)
            return tuple(_widened(each) for each in answer)

    def _widened(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.float() if tensor.dtype == low else tensor

    return Cast().eval()
