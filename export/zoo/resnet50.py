"""ResNet-50 (He et al. 2016, the v1.5 variant), as ``microsoft/resnet-50``."""

from typing import TYPE_CHECKING

from export.zoo._transformers import transformers_model
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="resnet50",
    family="resnet",
    version=1,
    inputs=(TensorSpec("pixel_values", DType.FP32, (3, 224, 224)),),
    outputs=(TensorSpec("logits", DType.FP32, (1000,)),),
    # Scores have unit variance; reordered fp32 sums over 50 layers move them by some 1e-5 (measured), while a
    # wrong padding or a lost layer moves them by 1e-1. The bound lies between, nearer to the rounding.
    tolerance=Tolerance(max_abs=2e-4, max_rel=1e-3),
    classifier=True,
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over 1000 classes; ``weights`` may be ``microsoft/resnet-50``."""
    from transformers import ResNetConfig, ResNetForImageClassification

    return transformers_model(ResNetForImageClassification, ResNetConfig(), MODEL, weights, seed)
