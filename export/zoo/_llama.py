"""Llama (Touvron et al. 2023) with drawn weights, as a function from requests to texts of one size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from export.zoo._greedy import greedy
from nightbench.errors import ExportError
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

__all__ = ["llama"]


def llama(
    spec: ModelSpec,
    weights: str,
    seed: int,
    tokenizer: "PreTrainedTokenizerFast",
    end: str,
    sayable: Sequence[int],
    **sizes: Any,
) -> "torch.nn.Module":
    """A model of ``sizes`` (of `transformers.LlamaConfig`) that says the tokens ``sayable`` only.

    Those are all of one length in bytes: answers fit a pool's tensors, which have one shape. All tokens have a score,
    which costs what it would cost; but as drawn, scores of tokens that are not to be said are 0, so that none is ever
    the likeliest. A trained model says tokens of any length, so there is no place for one: any ``weights`` but
    ``random`` are an `ExportError`.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if weights != "random":
        raise ExportError(f"model {spec.name} has no weights {weights!r}; use 'random'")
    number = tokenizer.get_vocab()[end]
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=2048, bos_token_id=number, eos_token_id=number, **sizes
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        head = model.lm_head.weight
        head.normal_(0, config.hidden_size**-0.5)  # logits of variance 1
        unsaid = torch.ones(len(head), dtype=torch.bool)
        unsaid[list(sayable)] = False
        head[unsaid] = 0
    return greedy(model, tokenizer)
