"""Text of an invented language, and the vocabulary that byte pair encoding (Sennrich et al. 2016) finds in it.

Words are made of syllables, and their frequencies follow Zipf's law, as in all languages; so a tokenizer trained on it
has pieces of all lengths, and a word takes one to a few of them.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["END", "lexicon", "tokenizer", "utterance", "utterances"]

END = "<|end|>"
"""The token after which nothing follows."""

_SEED = 20
_WORDS = 20_000
_TRAINED_WORDS = 300_000
_LINE_WORDS = 100

_ONSETS = (
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "br",
    "cl",
    "dr",
    "gr",
    "pl",
    "st",
    "tr",
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_CODAS = ("", "", "l", "m", "n", "r", "s", "t", "nd", "st")


@cache
def lexicon() -> tuple[str, ...]:
    """Its words, the most frequent first; frequent words are short."""
    generator = np.random.default_rng(_SEED)
    syllables = ["".join(letters) for letters in product(_ONSETS, _VOWELS, _CODAS)]
    words: dict[str, None] = {}
    while len(words) < _WORDS:
        count = 1 + generator.binomial(4, 0.15 + 0.35 * len(words) / _WORDS)
        words["".join(syllables[number] for number in generator.integers(0, len(syllables), count))] = None
    return tuple(words)


def utterances(generator: np.random.Generator) -> Iterator[str]:
    """Words without end, each with the blank before it."""
    words = [f" {word}" for word in lexicon()]
    ranks = np.arange(1, len(words) + 1)
    chances = 1 / (ranks + 2.7)  # Mandelbrot's correction of Zipf's law
    chances /= chances.sum()
    while True:
        for number in generator.choice(len(words), _LINE_WORDS, p=chances):
            yield words[number]


def utterance(size: int, generator: np.random.Generator) -> str:
    """Words of ``size`` bytes in all, of which there are at least 3: those that do not fit are left out."""
    said: list[str] = []
    left = size
    spoken = utterances(generator)
    while left:
        word = next(spoken)
        # No word is shorter than a blank and two letters.
        if len(word) == left or len(word) <= left - 3:
            said.append(word)
            left -= len(word)
    return "".join(said)


@cache
def _trained(size: int) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    spoken = utterances(np.random.default_rng(_SEED + 1))
    lines = ("".join(next(spoken) for _ in range(_LINE_WORDS)) for _ in range(_TRAINED_WORDS // _LINE_WORDS))
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(lines, trainer)
    text: str = built.to_str()
    return text


def tokenizer(size: int) -> "PreTrainedTokenizerFast":
    """Trained on 300,000 words, to ``size`` tokens: the end, the 256 bytes, then what was found.

    Nothing is put before or after a text, and any text can be read.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    wrap: Any = PreTrainedTokenizerFast  # not annotated by transformers
    wrapped: PreTrainedTokenizerFast = wrap(
        tokenizer_object=Tokenizer.from_str(_trained(size)), eos_token=END, clean_up_tokenization_spaces=False
    )
    return wrapped
