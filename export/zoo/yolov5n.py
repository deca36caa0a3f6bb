"""YOLOv5n at 640 pixels, release 6 (Jocher 2020): the small object detector of Inference Arena.

Boxes overlap: choosing among them (non-maximum suppression) is the business of who asks.
"""

from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo._pictures import pictures
from export.zoo._scale import ROUNDING
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw"]

_SIDE = 640

MODEL = ModelSpec(
    name="yolov5n",
    family="yolo",
    version=1,
    inputs=(TensorSpec("images", DType.FP32, (3, _SIDE, _SIDE)),),
    # Three boxes for each cell of grids of 80, 40 and 20: centre x, centre y, width, height, object, COCO's 80 classes.
    outputs=(TensorSpec("predictions", DType.FP32, (25200, 85)),),
    # Boxes are in pixels. PyTorch in fp32 stands 0.14 pixels (of hundreds) and 3e-4 in scores from fp64, each picture
    # 7e-6 of its root mean square; the exports 0.3, 5e-4 and 5e-6 from it; bf16 1300, 1 and 5e-2 (measured).
    tolerance=Tolerance(max_abs=1e-2, max_rel=4e-3, max_nrmse=2e-5),
    tolerances=ROUNDING,
    # The graph is our own; weights converted from upstream's are under the AGPL-3.0.
    licence="MIT",
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` pictures of values from 0 to 1."""
    return {"images": pictures(count, _SIDE, generator)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The detector; ``weights`` may be a folder with upstream's weights as ``model.safetensors``."""
    from export.zoo._yolo import Yolo5, detector

    return detector(lambda: Yolo5(_SIDE, classes=80), _SIDE, weights, seed)
