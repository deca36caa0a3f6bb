"""`arena` in small: a YOLOv5 of a few thousand parameters at 64 pixels, and `tiny_cnn` for its crops. For tests."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.draw import Arrays
from export.zoo import _arena, _chosen, _fitted, _parts, tiny
from nightbench.errors import ExportError
from nightbench.model import DType, ModelSpec, Stage, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

    from export.formats.base import Runner

__all__ = ["MODEL", "build", "draw", "run_stages", "stages"]

_SIDE = 64
_CLASSES = 3
_CELLS = sum((_SIDE // stride) ** 2 for stride in (8, 16, 32))
_ANCHOR = _fitted.Anchor(level=0, number=2)
"""Of 33 by 23 pixels."""

MODEL = ModelSpec(
    name="tiny_arena",
    family="arena",
    version=_parts.version(1, tiny.MODEL),  # the detector is its own
    inputs=(_arena.image_input(_SIDE),),
    outputs=_arena.OUTPUTS,
    tolerance=Tolerance(max_abs=_arena.TOLERANCE),
    licence=tiny.MODEL.licence,
    stages=(
        Stage(
            "detect",
            (TensorSpec("images", DType.FP32, (3, _SIDE, _SIDE)),),
            (TensorSpec("predictions", DType.FP32, (3 * _CELLS, 5 + _CLASSES)),),
        ),
        Stage("classify", tiny.MODEL.inputs, tiny.MODEL.outputs),
    ),
)


def stages(weights: str, seed: int) -> "Mapping[str, torch.nn.Module]":
    """Both models, in evaluation mode. They were never trained: any ``weights`` but ``random`` are an `ExportError`."""
    if weights != "random":
        raise ExportError(f"model tiny_arena has no weights {weights!r}; use 'random'")
    return deepcopy(_stages(seed))


@cache
def _stages(seed: int) -> "Mapping[str, torch.nn.Module]":
    from export.zoo._yolo import Yolo5, detector

    detect = detector(lambda: Yolo5(_SIDE, _CLASSES, width=1 / 8), _SIDE, "random", seed)
    _fitted.fit(detect, _ANCHOR, _SIDE, seed)
    return {"detect": detect, "classify": tiny.build("random", seed)}


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
