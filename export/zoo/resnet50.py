"""ResNet-50 (He et al. 2016, the v1.5 variant), as ``microsoft/resnet-50``."""

from typing import TYPE_CHECKING

from export.zoo._scale import ROUNDING
from export.zoo._transformers import transformers_model
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="resnet50",
    family="resnet",
    version=2,
    inputs=(TensorSpec("pixel_values", DType.FP32, (3, 224, 224)),),
    outputs=(TensorSpec("logits", DType.FP32, (1000,)),),
    # Scores have unit variance. PyTorch in fp32 stands 2.5e-5 from fp64, the exports 4.5e-5 from it. bf16 moves them by
    # 0.7, a tenfold BatchNorm epsilon by 0.02 (all measured).
    tolerance=Tolerance(max_abs=5e-4, max_rel=1e-3),
    tolerances=ROUNDING,
    classifier=True,
    licence="Apache-2.0",
    hub_weights="microsoft/resnet-50",
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over 1000 classes; ``weights`` may be ``microsoft/resnet-50``."""
    from transformers import ResNetConfig, ResNetForImageClassification

    return transformers_model(ResNetForImageClassification, ResNetConfig(), MODEL, weights, seed)
