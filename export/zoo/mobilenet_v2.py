"""MobileNetV2 1.0 at 224 pixels (Sandler et al. 2018), as ``google/mobilenet_v2_1.0_224``."""

from typing import TYPE_CHECKING

from export.zoo._scale import ROUNDING
from export.zoo._transformers import transformers_model
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="mobilenet_v2",
    family="mobilenet",
    version=2,
    inputs=(TensorSpec("pixel_values", DType.FP32, (3, 224, 224)),),
    # The hub's checkpoint counts a background class beside ImageNet's 1000.
    outputs=(TensorSpec("logits", DType.FP32, (1001,)),),
    # Scores have unit variance. PyTorch in fp32 stands 2e-5 from fp64, the exports of its smaller sibling 2.4e-5 from
    # it, which bf16 moves by 0.5 and a tenfold BatchNorm epsilon by 4 (all measured).
    tolerance=Tolerance(max_abs=3e-4, max_rel=1e-3),
    tolerances=ROUNDING,
    classifier=True,
    # The hub names none for the weights ("other").
    licence="Apache-2.0 AND LicenseRef-unstated",
    hub_weights="google/mobilenet_v2_1.0_224",
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over 1001 classes; ``weights`` may be ``google/mobilenet_v2_1.0_224``."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return transformers_model(MobileNetV2ForImageClassification, MobileNetV2Config(), MODEL, weights, seed)
