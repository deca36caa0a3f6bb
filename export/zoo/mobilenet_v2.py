"""MobileNetV2 1.0 at 224 pixels (Sandler et al. 2018), as ``google/mobilenet_v2_1.0_224``."""

from typing import TYPE_CHECKING

from export.zoo._transformers import transformers_model
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="mobilenet_v2",
    family="mobilenet",
    version=1,
    inputs=(TensorSpec("pixel_values", DType.FP32, (3, 224, 224)),),
    # The hub's checkpoint counts a background class beside ImageNet's 1000.
    outputs=(TensorSpec("logits", DType.FP32, (1001,)),),
    # Scores have unit variance. PyTorch in fp32 stands 0.8e-4 from fp64, the exports 1e-4 from it; bf16 moves them
    # by 2 (all measured).
    tolerance=Tolerance(max_abs=5e-4, max_rel=1e-3),
    classifier=True,
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over 1001 classes; ``weights`` may be ``google/mobilenet_v2_1.0_224``."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return transformers_model(MobileNetV2ForImageClassification, MobileNetV2Config(), MODEL, weights, seed)
