"""The two-stage pipeline of Inference Arena: YOLOv5n at 640 pixels, and MobileNetV2 for each of its 3 to 5 crops.

``weights`` may be a folder with ``detect/`` (as `yolov5n` takes it), ``classify/`` (as `mobilenet_v2` does) and
``images/`` (photographs, such as COCO's); what is not there is random, or made up.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.draw import Arrays
from export.zoo import _arena, _chosen, _fitted, _parts, mobilenet_v2, yolov5n
from nightbench.model import ModelSpec, Stage, Tolerance

if TYPE_CHECKING:
    import torch

    from export.formats.base import Runner

__all__ = ["MODEL", "build", "draw", "run_stages", "stages"]

_SIDE = 640
_ANCHOR = _fitted.Anchor(level=2, number=1)
"""Of 156 by 198 pixels."""

MODEL = ModelSpec(
    name="arena",
    family="arena",
    version=_parts.version(1, yolov5n.MODEL, mobilenet_v2.MODEL),
    inputs=(_arena.image_input(_SIDE),),
    outputs=_arena.OUTPUTS,
    tolerance=Tolerance(max_abs=_arena.TOLERANCE),
    licence=" AND ".join(dict.fromkeys((yolov5n.MODEL.licence, mobilenet_v2.MODEL.licence))),
    stages=(
        Stage("detect", yolov5n.MODEL.inputs, yolov5n.MODEL.outputs),
        Stage("classify", mobilenet_v2.MODEL.inputs, mobilenet_v2.MODEL.outputs),
    ),
)


def stages(weights: str, seed: int) -> "Mapping[str, torch.nn.Module]":
    """Both models, in evaluation mode."""
    return deepcopy(_stages(weights, seed))


@cache
def _stages(weights: str, seed: int) -> "Mapping[str, torch.nn.Module]":
    """One export asks three times, and fitting takes seconds."""
    detect_weights = _arena.part(weights, "detect")
    detect = yolov5n.build(detect_weights, seed)
    if detect_weights == "random":
        _fitted.fit(detect, _ANCHOR, _SIDE, seed)
    return {"detect": detect, "classify": mobilenet_v2.build(_arena.part(weights, "classify"), seed)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The whole pipeline, as the reference that every architecture is compared with."""
    return _arena.reference(**stages(weights, seed), crop_side=_crop_side(), side=_SIDE)


def draw(count: int, generator: np.random.Generator, weights: str = "random") -> Arrays:
    """``count`` images with 3 to 5 detections each, 4 on average."""
    images = _chosen.candidates(weights, _SIDE, generator)
    return {
        "image": _chosen.chosen(
            count, images, **stages(weights, MODEL.seed), crop_side=_crop_side(), generator=generator
        )
    }


def run_stages(runners: "Mapping[str, Runner]", inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """The pipeline over the exported stages."""
    return _arena.run(MODEL.stages, runners, inputs)


def _crop_side() -> int:
    return MODEL.stages[1].inputs[0].shape[-1]
