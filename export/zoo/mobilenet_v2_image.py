"""`mobilenet_v2` behind its pre-processing: from a picture's bytes to scores, in two stages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo import _parts, mobilenet_v2
from export.zoo._images import bytes_of_pictures, image_stages, in_a_row, picture_input, two_stages
from export.zoo._scale import ROUNDING
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw", "stages"]

_SIDE = 224

MODEL = ModelSpec(
    name="mobilenet_v2_image",
    family="mobilenet",
    version=_parts.version(1, mobilenet_v2.MODEL),
    inputs=(picture_input(_SIDE),),
    outputs=mobilenet_v2.MODEL.outputs,
    # As argued there; on pictures PyTorch in fp32 stands 0.7e-4 from fp64, the export 1e-4 from it (measured).
    tolerance=mobilenet_v2.MODEL.tolerance,
    tolerances=ROUNDING,
    classifier=True,
    licence=mobilenet_v2.MODEL.licence,
    hub_weights=mobilenet_v2.MODEL.hub_weights,
    stages=two_stages(mobilenet_v2.MODEL),
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` pictures."""
    return {"picture": bytes_of_pictures(count, _SIDE, generator)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """Both stages in a row; ``weights`` may be those of `mobilenet_v2`."""
    return in_a_row(stages(weights, seed))


def stages(weights: str, seed: int) -> "Mapping[str, torch.nn.Module]":
    """``preprocess`` and ``classify``; normalised as the hub's processor of this model does, to -1 to 1."""
    return image_stages(mobilenet_v2.build, MODEL, weights, seed, mean=0.5, deviation=0.5)
