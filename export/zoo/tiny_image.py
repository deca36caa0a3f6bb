"""`tiny_cnn` behind a pre-processing: two stages, small enough for tests."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo import _parts, tiny
from export.zoo._images import bytes_of_pictures, image_stages, in_a_row, picture_input, two_stages
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw", "stages"]

_SIDE = 16

MODEL = ModelSpec(
    name="tiny_cnn_image",
    family="tiny",
    version=_parts.version(1, tiny.MODEL),
    inputs=(picture_input(_SIDE),),
    outputs=tiny.MODEL.outputs,
    tolerance=tiny.MODEL.tolerance,
    classifier=True,
    licence=tiny.MODEL.licence,
    stages=two_stages(tiny.MODEL),
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` pictures."""
    return {"picture": bytes_of_pictures(count, _SIDE, generator)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """Both stages in a row. They were never trained: any ``weights`` but ``random`` are an `ExportError`."""
    return in_a_row(stages(weights, seed))


def stages(weights: str, seed: int) -> "Mapping[str, torch.nn.Module]":
    """``preprocess`` and ``classify``, in evaluation mode."""
    return image_stages(tiny.build, MODEL, weights, seed, mean=0.5, deviation=0.5)
