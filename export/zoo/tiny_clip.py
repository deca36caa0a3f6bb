"""CLIP's image tower of two layers and 64 hidden units on 4 by 4 patches: small enough for tests."""

from typing import TYPE_CHECKING

from export.zoo._clip import image_tower
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="tiny_clip",
    family="clip",
    version=1,
    inputs=(TensorSpec("pixel_values", DType.FP32, (3, 32, 32)),),
    outputs=(TensorSpec("image_embeds", DType.FP32, (32,)),),
    # As argued for its larger sibling in `clip_vit_b32`.
    tolerance=Tolerance(max_abs=1e-4, max_rel=1e-3, max_nrmse=1e-3),
    licence="Apache-2.0",
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The image tower."""
    return image_tower(
        MODEL,
        weights,
        seed,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=32,
    )
