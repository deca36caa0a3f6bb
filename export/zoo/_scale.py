"""Make random weights behave like trained ones where it matters for comparing outputs.

Freshly drawn networks shrink or blow up their activations, and answer nearly the same to every input, so that parity
and top-1 agreement would prove little. Two statistics are set from a seeded batch, as training would have done:
BatchNorm's running mean and variance, and the last layer's offset and gain. Neither changes the graph or its speed.

Nor does the third thing. In a deep network of random weights with BatchNorm, rounding grows from layer to layer (Yang
et al. 2019, "A Mean Field Theory of Batch Normalization"): behind a ReLU of normal values, two near inputs lie farther
apart by a factor of 1.2, relative to the values' spread. With 1 for BatchNorm's offset fewer values fall below zero,
and the factor is 1.06; ResNet-50 in fp16 then strays from fp32 by 0.02 of its scores' RMS in place of 0.2 (measured).
More than 1 makes it worse again (measured).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from export.draw import CALIBRATION, draw
from nightbench.model import ModelSpec, Precision, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["CALIBRATED", "ROUNDING", "calibrate", "examples", "scale", "spread"]

ROUNDING: Mapping[Precision, Tolerance] = {
    Precision.FP16: Tolerance(max_abs=None, max_nrmse=0.05),
    Precision.BF16: Tolerance(max_abs=None, max_nrmse=0.35),
    Precision.INT8: Tolerance(max_abs=None, max_nrmse=0.7),
}
"""What deep networks of random weights with BatchNorm make of rounding, twice what was measured; see docs/parity.md."""
CALIBRATED = 16
"""Items that a classifier is calibrated on."""


def calibrate(module: "torch.nn.Module", examples: "Sequence[torch.Tensor]") -> None:
    """Set the running mean and variance of every BatchNorm, in place, to those of one batch of ``examples``."""
    import torch

    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum = None  # the plain average of what passes, here of one batch
        if norms:
            module(*examples)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def examples(spec: ModelSpec) -> "tuple[torch.Tensor, ...]":
    """Inputs to calibrate with, drawn as the spec says, none of which is measured."""
    import torch

    return tuple(torch.from_numpy(array) for array in draw(spec, CALIBRATED, CALIBRATION).values())


def scale(module: "torch.nn.Module", examples: "Sequence[torch.Tensor]") -> None:
    """Calibrate a freshly drawn classifier in place.

    Its last `torch.nn.Linear` gives the scores: each class gets mean 0, and all scores together variance 1.
    """
    import torch

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.bias.fill_(1.0)
    calibrate(module, examples)
    with torch.no_grad():
        head = [part for part in module.modules() if isinstance(part, torch.nn.Linear)][-1]
        scores = module(*examples)[0]
        centred = scores - scores.mean(0)
        gain = 1 / centred.std()
        head.weight.mul_(gain)
        head.bias.sub_(scores.mean(0)).mul_(gain)


def spread(
    module: "torch.nn.Module",
    examples: "Sequence[torch.Tensor]",
    heads: "Mapping[torch.nn.Conv2d, tuple[torch.Tensor, torch.Tensor]]",
) -> None:
    """Give each channel of each head the mean and standard deviation that stand beside it, over ``examples``.

    ``heads`` are convolutions with a bias, none of which feeds another; they are changed in place.
    """
    import torch

    def note(head: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        said[head] = torch.std_mean(out, (0, 2, 3))

    said: dict[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
    hooks = [head.register_forward_hook(note) for head in heads]
    with torch.no_grad():
        module(*examples)
        for hook in hooks:
            hook.remove()
        for head, (mean, deviation) in heads.items():
            before, offset = said[head]
            gain = deviation / before
            head.weight.mul_(gain[:, None, None, None])
            head.bias.sub_(offset).mul_(gain).add_(mean)  # type: ignore[union-attr]
