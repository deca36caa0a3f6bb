"""YOLOv8n at 640 pixels (Jocher et al. 2023): a detector without anchors.

Boxes overlap: choosing among them (non-maximum suppression) is the business of who asks.
"""

from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo._pictures import pictures
from export.zoo.yolov5n import DETECTING
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw"]

_SIDE = 640

MODEL = ModelSpec(
    name="yolov8n",
    family="yolo",
    version=1,
    inputs=(TensorSpec("images", DType.FP32, (3, _SIDE, _SIDE)),),
    # One box for each cell of grids of 80, 40 and 20: centre x, centre y, width, height, COCO's 80 classes.
    outputs=(TensorSpec("predictions", DType.FP32, (84, 8400), parts=(4, 80)),),
    # Boxes are in pixels. PyTorch in fp32 stands 0.04 pixels (of hundreds) and 6e-5 in scores from fp64, the exports
    # 0.06 and 7e-5 from it. As a share of their root mean square that is up to 4e-6 in boxes and 3e-5 in scores; bf16
    # stands 7e-2 and 0.6 off (measured).
    tolerance=Tolerance(max_abs=1e-2, max_rel=4e-3, max_nrmse=1e-4),
    tolerances=DETECTING,
    # The graph is our own; weights converted from upstream's are under the AGPL-3.0.
    licence="MIT",
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` pictures of values from 0 to 1."""
    return {"images": pictures(count, _SIDE, generator)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The detector; ``weights`` may be a folder with upstream's weights as ``model.safetensors``."""
    from export.zoo._yolo import Yolo8, detector

    return detector(lambda: Yolo8(_SIDE, classes=80), _SIDE, weights, seed)
