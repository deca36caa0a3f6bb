"""YOLOv5n at 640 pixels, release 6 (Jocher 2020): the small object detector of Inference Arena.

Boxes overlap: choosing among them (non-maximum suppression) is the business of who asks.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo._pictures import pictures
from nightbench.model import DType, ModelSpec, Precision, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["DETECTING", "MODEL", "build", "draw"]

DETECTING: Mapping[Precision, Tolerance] = {
    Precision.FP16: Tolerance(max_abs=None, max_nrmse=0.4),
    Precision.BF16: Tolerance(max_abs=None, max_nrmse=0.8),
    Precision.INT8: Tolerance(max_abs=None, max_nrmse=0.8),
}
"""What drawn detectors make of rounding, in boxes, objects and classes apart: objects most, whose scores are the
exponential of what was rounded. Scores that are all 0 stand 1 off. docs/parity.md has what was measured."""
_SIDE = 640

MODEL = ModelSpec(
    name="yolov5n",
    family="yolo",
    version=1,
    inputs=(TensorSpec("images", DType.FP32, (3, _SIDE, _SIDE)),),
    # Three boxes for each cell of grids of 80, 40 and 20: centre x, centre y, width, height, object, COCO's 80 classes.
    outputs=(TensorSpec("predictions", DType.FP32, (25200, 85), parts=(4, 1, 80)),),
    # Boxes are in pixels. PyTorch in fp32 stands 0.14 pixels (of hundreds) and 3e-4 in scores from fp64, the exports
    # 0.3 and 5e-4 from it. As a share of their root mean square that is up to 4e-6 in boxes, 2e-5 in objects and 1e-5
    # in classes; bf16 stands 5e-2, 0.35 and 0.2 off (measured).
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
    from export.zoo._yolo import Yolo5, detector

    return detector(lambda: Yolo5(_SIDE, classes=80), _SIDE, weights, seed)
