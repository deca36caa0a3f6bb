"""BERT of two layers and 128 hidden units on 32 tokens (Turc et al. 2019): a transformer small enough for tests."""

from typing import TYPE_CHECKING

from export.zoo._transformers import transformers_model
from nightbench.model import Draw, DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="bert_tiny",
    family="bert",
    version=1,
    inputs=(
        TensorSpec("input_ids", DType.INT64, (32,), Draw.INTEGER, high=1000),
        TensorSpec("attention_mask", DType.INT64, (32,), Draw.ONES),
    ),
    outputs=(TensorSpec("logits", DType.FP32, (2,)),),
    tolerance=Tolerance(max_abs=1e-4, max_rel=1e-3),
    classifier=True,
    licence="Apache-2.0",
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over two classes."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=1000,
        num_hidden_layers=2,
        hidden_size=128,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=32,
    )
    return transformers_model(BertForSequenceClassification, config, MODEL, weights, seed)
