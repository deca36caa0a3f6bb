"""MobileNetV2 0.35 at 96 pixels (Sandler et al. 2018), as ``google/mobilenet_v2_0.35_96``.

The smallest published one: its answer costs so little that a server's own overhead is most of what is measured.
"""

from typing import TYPE_CHECKING

from export.zoo._scale import ROUNDING
from export.zoo._transformers import transformers_model
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="mobilenet_v2_035_96",
    family="mobilenet",
    version=2,
    inputs=(TensorSpec("pixel_values", DType.FP32, (3, 96, 96)),),
    # The hub's checkpoint counts a background class beside ImageNet's 1000.
    outputs=(TensorSpec("logits", DType.FP32, (1001,)),),
    # As argued for its larger sibling in `mobilenet_v2`.
    tolerance=Tolerance(max_abs=3e-4, max_rel=1e-3),
    tolerances=ROUNDING,
    classifier=True,
    # The hub names none for the weights ("other").
    licence="Apache-2.0 AND LicenseRef-unstated",
    hub_weights="google/mobilenet_v2_0.35_96",
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over 1001 classes; ``weights`` may be ``google/mobilenet_v2_0.35_96``."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(depth_multiplier=0.35, image_size=96)
    return transformers_model(MobileNetV2ForImageClassification, config, MODEL, weights, seed)
