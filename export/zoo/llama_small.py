"""Llama (Touvron et al. 2023) of 44 million parameters, with a tokenizer trained on text of an invented language.

12 layers of 512 hidden units, 8 heads, 4 of keys and values, 8192 tokens. It was never trained: it says words of that
language, without sense, as fast as if they had some. Prompts are of one size in bytes, and of as many tokens as that
happens to be, as real ones are; answers are of words of seven letters, see `export.zoo._llama`.
"""

from typing import TYPE_CHECKING

import numpy as np

from export.draw import Arrays
from export.zoo._greedy import request
from export.zoo._llama import llama
from export.zoo._speech import END, tokenizer, utterance
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build", "draw"]

_VOCABULARY = 8192
_PROMPT_BYTES = 512
"""Some 100 tokens."""
_OUTPUT_TOKENS = 32
_TOKEN_BYTES = 8
"""A blank and seven letters: more tokens are of this length than of any other."""
_REQUEST_BYTES = len(request("." * _PROMPT_BYTES, _OUTPUT_TOKENS))

MODEL = ModelSpec(
    name="llama_small",
    family="llama",
    version=1,
    inputs=(TensorSpec("request", DType.UINT8, (_REQUEST_BYTES,)),),
    outputs=(TensorSpec("text", DType.UINT8, (_TOKEN_BYTES * _OUTPUT_TOKENS,)),),
    # Text is the same or it is not.
    tolerance=Tolerance(max_abs=0, max_rel=0),
    language=True,
    licence="Apache-2.0",
)


def draw(count: int, generator: np.random.Generator) -> Arrays:
    """``count`` requests to go on from as many prompts."""
    bodies = [request(utterance(_PROMPT_BYTES, generator), _OUTPUT_TOKENS) for _ in range(count)]
    return {"request": np.frombuffer(bytearray(b"".join(bodies)), np.uint8).reshape(count, _REQUEST_BYTES)}


def build(weights: str, seed: int) -> "torch.nn.Module":
    """From requests to texts. It was never trained: any ``weights`` but ``random`` are an `ExportError`."""
    pieces = tokenizer(_VOCABULARY)
    texts = [str(pieces.decode([number])) for number in range(len(pieces))]
    return llama(
        MODEL,
        weights,
        seed,
        pieces,
        END,
        [number for number, text in enumerate(texts) if _is_word(text) and pieces(text)["input_ids"] == [number]],
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        # As in `llama`.
        initializer_range=0.05,
    )


def _is_word(text: str) -> bool:
    """A blank and letters, of the size of an answer's tokens. None is a piece of a character."""
    return len(text) == _TOKEN_BYTES and text[0] == " " and text[1:].isalpha() and text.isascii()
