"""Image classifiers that take pictures as cameras give them: bytes, channels last. Two models in a row, exported apart.

Pictures come decoded and cut to size: decoders and resizers differ from library to library, normalising does not.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.draw import CALIBRATION
from export.zoo._pictures import pictures
from export.zoo._scale import CALIBRATED, scale
from nightbench.model import Draw, DType, ModelSpec, Stage, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["bytes_of_pictures", "image_stages", "in_a_row", "picture_input", "two_stages"]


def picture_input(side: int) -> TensorSpec:
    """The picture: rows, columns, red green blue."""
    return TensorSpec("picture", DType.UINT8, (side, side, 3), Draw.INTEGER, high=256)


def two_stages(classifier: ModelSpec) -> tuple[Stage, Stage]:
    """``preprocess``, from a picture to what ``classifier`` takes, and ``classify``, which is ``classifier``."""
    side = classifier.inputs[0].shape[-1]
    return (
        Stage("preprocess", (picture_input(side),), classifier.inputs),
        Stage("classify", classifier.inputs, classifier.outputs),
    )


def bytes_of_pictures(count: int, side: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """``count`` pictures (count, side, side, 3); ``side`` is a multiple of 16."""
    levels = np.rint(pictures(count, side, generator) * 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def image_stages(
    build: "Callable[[str, int], torch.nn.Module]",
    spec: ModelSpec,
    weights: str,
    seed: int,
    mean: float | tuple[float, float, float],
    deviation: float | tuple[float, float, float],
) -> "Mapping[str, torch.nn.Module]":
    """The modules of `two_stages` by name; ``build`` makes the classifier, ``mean`` and ``deviation`` normalise.

    Random weights are calibrated anew, on pictures: those of ``build`` are on noise of another spread.
    """
    import torch

    class Preprocess(torch.nn.Module):
        """A byte becomes ``(byte / 255 - mean) / deviation``, channels come first."""

        def __init__(self) -> None:
            super().__init__()
            shape = (-1, 1, 1)
            self.register_buffer("mean", torch.tensor(mean).reshape(shape), persistent=False)
            self.register_buffer("deviation", torch.tensor(deviation).reshape(shape), persistent=False)

        def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor]:
            shares = picture.permute(0, 3, 1, 2).to(self.get_buffer("mean").dtype) / 255
            return ((shares - self.get_buffer("mean")) / self.get_buffer("deviation"),)

    parts = {"preprocess": Preprocess().eval(), "classify": build(weights, seed)}
    if weights == "random":
        side = spec.inputs[0].shape[0]
        drawn = bytes_of_pictures(CALIBRATED, side, np.random.default_rng([seed, CALIBRATION]))
        with torch.no_grad():
            normal = parts["preprocess"](torch.from_numpy(drawn))
        scale(parts["classify"], normal)
    return parts


def in_a_row(parts: "Mapping[str, torch.nn.Module]") -> "torch.nn.Module":
    """The whole model: each part takes what the one before it gives."""
    import torch

    class InARow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleDict(parts)

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            for part in self.parts.values():
                tensors = part(*tensors)
            return tensors

    return InARow().eval()
