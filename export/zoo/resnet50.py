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
    # Scores have unit variance, and drawn residual layers amplify rounding: PyTorch in fp32 itself stands 4.4e-4
    # from fp64, the exports 6e-4 from it. bf16 moves them by 3, a tenfold BatchNorm epsilon by 0.8 (all measured).
    tolerance=Tolerance(max_abs=2e-3, max_rel=1e-3),
    classifier=True,
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over 1000 classes; ``weights`` may be ``microsoft/resnet-50``."""
    from transformers import ResNetConfig, ResNetForImageClassification

    return transformers_model(ResNetForImageClassification, ResNetConfig(), MODEL, weights, seed)
