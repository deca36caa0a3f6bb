"""YOLOv5 at 64 pixels and an eighth of the width for four classes: a detector small enough for tests."""

from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo._pictures import pictures
from export.zoo.yolov5n import DETECTING
from nightbench.errors import ExportError
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw"]

_SIDE = 64

MODEL = ModelSpec(
    name="tiny_yolo",
    family="yolo",
    version=1,
    inputs=(TensorSpec("images", DType.FP32, (3, _SIDE, _SIDE)),),
    outputs=(TensorSpec("predictions", DType.FP32, (252, 9), parts=(4, 1, 4)),),
    # As argued for its larger sibling in `yolov5n`.
    tolerance=Tolerance(max_abs=1e-2, max_rel=4e-3, max_nrmse=1e-4),
    tolerances=DETECTING,
    licence="MIT",
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` pictures of values from 0 to 1."""
    return {"images": pictures(count, _SIDE, generator)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The detector. It was never trained: any ``weights`` but ``random`` are an `ExportError`."""
    from export.zoo._yolo import Yolo5, detector

    if weights != "random":
        raise ExportError(f"model tiny_yolo has no weights {weights!r}; use 'random'")
    return detector(lambda: Yolo5(_SIDE, classes=4, width=1 / 8), _SIDE, weights, seed)
