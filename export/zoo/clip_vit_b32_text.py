"""CLIP ViT-B/32, its text tower, as ``laion/CLIP-ViT-B-32-laion2B-s34B-b79K``; `clip_vit_b32` is the other."""

from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo._clip import text_tower
from nightbench.model import Draw, DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw"]

_VOCABULARY = 49408
_START, _END = _VOCABULARY - 2, _VOCABULARY - 1
_TOKENS = 77

MODEL = ModelSpec(
    name="clip_vit_b32_text",
    family="clip",
    version=1,
    inputs=(TensorSpec("input_ids", DType.INT64, (_TOKENS,), Draw.INTEGER, high=_VOCABULARY),),
    outputs=(TensorSpec("text_embeds", DType.FP32, (512,)),),
    # 0.1 %, and for values near 0 a fiftieth of that of their root mean square, which is 1. PyTorch in fp32 stands
    # 2.4e-6 from fp64, the exports 3.1e-6 from it; bf16 moves them by 4e-2 (all measured).
    tolerance=Tolerance(max_abs=2e-5, max_rel=1e-3, max_nrmse=1e-3),
    licence="Apache-2.0 AND MIT",
    hub_weights="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` texts of 5 to 75 words between their start and their end, which also fills up what is left.

    What is said at the first end is the embedding. No word sees what comes after it, so that no mask is needed.
    """
    tokens = np.full((count, _TOKENS), _END, np.int64)
    tokens[:, 0] = _START
    for row, length in enumerate(generator.integers(5, _TOKENS - 1, count)):
        tokens[row, 1 : 1 + length] = generator.integers(0, _START, length)
    return {"input_ids": tokens}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The text tower; ``weights`` may be those of both towers."""
    return text_tower(MODEL, weights, seed)
