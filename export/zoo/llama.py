"""Llama (Touvron et al. 2023) of 4 layers and 256 hidden units: a language model small enough for any machine.

It has what makes a Llama: rotary positions, grouped queries, gated feed-forward layers, RMS norms. It was never
trained, so what it says means nothing; it says it as fast as if it did.
"""

from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo._greedy import request
from export.zoo._llama import llama
from export.zoo._words import END, WORD_BYTES, WORDS, tokenizer
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw"]

_PROMPT_TOKENS = 64
_OUTPUT_TOKENS = 32
_REQUEST_BYTES = len(request(WORDS[0] * _PROMPT_TOKENS, _OUTPUT_TOKENS))

MODEL = ModelSpec(
    name="tiny_llama",
    family="llama",
    version=1,
    inputs=(TensorSpec("request", DType.UINT8, (_REQUEST_BYTES,)),),
    outputs=(TensorSpec("text", DType.UINT8, (WORD_BYTES * _OUTPUT_TOKENS,)),),
    # Text is the same or it is not.
    tolerance=Tolerance(max_abs=0, max_rel=0),
    language=True,
    licence="Apache-2.0",
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` requests to go on from as many prompts of random words."""
    numbers = generator.integers(0, len(WORDS), (count, _PROMPT_TOKENS))
    bodies = [request("".join(WORDS[number] for number in row), _OUTPUT_TOKENS) for row in numbers]
    return {"request": np.frombuffer(bytearray(b"".join(bodies)), np.uint8).reshape(count, _REQUEST_BYTES)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """From requests to texts. It was never trained: any ``weights`` but ``random`` are an `ExportError`."""
    words = tokenizer()
    return llama(
        MODEL,
        weights,
        seed,
        words,
        END,
        range(len(words) - len(WORDS), len(words)),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        # Wide enough for attention to say as much as the last word does: answers would run in circles otherwise.
        initializer_range=0.05,
    )
