"""BERT base, uncased (Devlin et al. 2019), classifying sequences of 128 tokens into two classes."""

from typing import TYPE_CHECKING

from export.zoo._transformers import transformers_model
from nightbench.model import Draw, DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="bert_base",
    family="bert",
    version=1,
    inputs=(
        TensorSpec("input_ids", DType.INT64, (128,), Draw.INTEGER, high=30522),
        TensorSpec("attention_mask", DType.INT64, (128,), Draw.ONES),
    ),
    outputs=(TensorSpec("logits", DType.FP32, (2,)),),
    # LayerNorm keeps twelve layers from adding up their rounding: scores move by 5e-6, and by
    # 2e-2 with bf16 or a lost layer (all measured).
    tolerance=Tolerance(max_abs=1e-4, max_rel=1e-3),
    classifier=True,
    licence="Apache-2.0",
    hub_weights="google-bert/bert-base-uncased",
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over two classes; ``weights`` may be ``google-bert/bert-base-uncased``, its head then drawn."""
    from transformers import BertConfig, BertForSequenceClassification

    return transformers_model(BertForSequenceClassification, BertConfig(), MODEL, weights, seed)
