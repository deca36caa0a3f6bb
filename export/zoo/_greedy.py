"""A causal language model as this room sees models: tensors in, tensors out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["greedy", "request"]


def request(prompt: str, output_tokens: int) -> bytes:
    """A completion of exactly ``output_tokens``, the likeliest each time, as OpenAI-compatible servers are asked.

    ``ignore_eos`` is not OpenAI's own, but known to vLLM, SGLang, TensorRT-LLM and llama.cpp.
    """
    asked = {"prompt": prompt, "max_tokens": output_tokens, "temperature": 0, "ignore_eos": True}
    return json.dumps(asked).encode()


def greedy(model: Any, tokenizer: Any) -> "torch.nn.Module":
    """``model`` and ``tokenizer`` (of transformers) as a module from requests to texts, both tensors of bytes.

    A `request` is answered alone, whatever its batch: its answer must not depend on its neighbours. They must all ask
    for answers of one length in bytes.
    """
    import torch

    class Greedy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.tokenizer = tokenizer

        def forward(self, requests: torch.Tensor) -> tuple[torch.Tensor]:
            with _one_thread():
                texts = [self._answer(json.loads(row.tobytes())) for row in requests.numpy()]
            return (torch.from_numpy(np.stack(texts)),)

        def _answer(self, asked: dict[str, Any]) -> NDArray[np.uint8]:
            step, past = self.tokenizer(asked["prompt"], return_tensors="pt")["input_ids"], None
            tokens: list[int] = []
            for _ in range(asked["max_tokens"]):
                said = self.model(input_ids=step, past_key_values=past, use_cache=True)
                past = said.past_key_values
                step = said.logits[:, -1:].argmax(-1)
                tokens.append(int(step))
            text: str = self.tokenizer.decode(tokens)
            return np.frombuffer(text.encode(), np.uint8)

    return Greedy().eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch computes alone in this block.

    The work of one token is too little to share: on a busy machine, threads that wait for each other take 20 times as
    long (measured).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
