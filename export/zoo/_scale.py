"""Make random weights behave like trained ones where it matters for comparing outputs.

Freshly drawn networks shrink or blow up their activations, and answer nearly the same to every input, so that parity
and top-1 agreement would prove little. Two statistics are set from a seeded batch, as training would have done:
BatchNorm's running mean and variance, and the last layer's offset and gain, which give each class mean 0 and all
scores together variance 1. Neither changes the graph or its speed.
"""

from typing import TYPE_CHECKING

from export.draw import CALIBRATION, draw
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["scale"]

_ITEMS = 16


def scale(module: "torch.nn.Module", spec: ModelSpec) -> None:
    """Calibrate a freshly drawn classifier in place; its last `torch.nn.Linear` gives the scores."""
    import torch

    examples = [torch.from_numpy(array) for array in draw(spec, _ITEMS, CALIBRATION).values()]
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
        head = [part for part in module.modules() if isinstance(part, torch.nn.Linear)][-1]
        scores = module(*examples)[0]
        centred = scores - scores.mean(0)
        gain = 1 / centred.std()
        head.weight.mul_(gain)
        head.bias.sub_(scores.mean(0)).mul_(gain)
