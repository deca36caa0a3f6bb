"""A vocabulary whose words are all of one length, and the prompts made of them.

Each word is a blank and three letters: one token, and 4 bytes of text. So a request of so many tokens, and an answer
too, is always of one size, as the tensors of a pool must be; and no token waits for the next one before a streaming
server can show it, as a piece of a character would. Other text is read byte by byte, as in Llama 3.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["END", "WORDS", "WORD_BYTES", "tokenizer"]

_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"

WORDS = tuple(f" {''.join(letters)}" for letters in product(_CONSONANTS, _VOWELS, _CONSONANTS))
WORD_BYTES = 4
END = "<|end|>"
"""The token after which nothing follows."""


def tokenizer() -> "PreTrainedTokenizerFast":
    """The end, the 256 bytes, then `WORDS`, numbered in this order; nothing is put before or after a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # Byte-level tokens write the blank as the letter that its byte stands for.
    names = (END, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(word.replace(" ", "Ġ") for word in WORDS))
    numbers = {name: number for number, name in enumerate(names)}
    # With nothing to merge, a piece of text is either a whole word or its bytes.
    built = Tokenizer(models.BPE(vocab=numbers, merges=[], ignore_merges=True))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    wrap: Any = PreTrainedTokenizerFast  # not annotated by transformers
    wrapped: PreTrainedTokenizerFast = wrap(tokenizer_object=built, eos_token=END, clean_up_tokenization_spaces=False)
    return wrapped
