"""Requests for language models: prompts drawn from a seed, or requests read from a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.payload import LIMIT_BYTES, Payload, check_distinct, opaque_bodies
from nightbench.errors import UsageError

__all__ = ["PROMPTS", "USUAL_TOKENS", "asked_tokens", "drawn_prompts", "given_requests"]

PROMPTS = 1024
"""Prompts to rotate through: many, because servers keep what they computed for a prompt they have seen before."""
USUAL_TOKENS = 64
_MOST_TOKENS = 1_000_000
_FREQUENT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which "
    "one you were all her she there would their we him been has when who will no more if out so up said what its "
    "about than into them can only other time new some could these two may first then do any like my now over such "
    "our man me even most made after also did many off before must well back through years where much your way down "
    "should because long each just state those people how too little good world very make year still own see work "
    "men day get here old life both between under last never place same another know while house might water went"
)
"""Each of them, with the blank before it, is one token to the usual English vocabularies."""
_WORDS = _FREQUENT.split()


def drawn_prompts(
    model: str, prompt_tokens: int, output_tokens: int, seed: int, distinct: int = PROMPTS, chat: bool = True
) -> Payload:
    """``distinct`` seeded requests: a prompt of ``prompt_tokens`` words each, to be answered by ``output_tokens``.

    A word stands for a token: the words are so common that GPT-2's, Llama's and Qwen's vocabularies hold each as one,
    but another vocabulary may not, and a chat's template adds some. What the server read, its ``usage`` says.

    Prompts differ within their first few words, less than a prefix cache compares at once. One that is sent again may
    still be answered out of that cache: give as many as there will be requests, or switch the cache off.

    The length of the answer is fixed by ``max_tokens`` and ``ignore_eos``, which vLLM, SGLang, TensorRT-LLM and
    llama.cpp know; OpenAI's own service refuses it. Sampling is greedy (``temperature`` 0) and seeded.
    """
    if not model:
        raise UsageError("--model: a prompt is addressed to a model; add --model NAME")
    for option, value in (("--prompt-tokens", prompt_tokens), ("--output-tokens", output_tokens)):
        if not 1 <= value <= _MOST_TOKENS:
            raise UsageError(f"{option}: {value} is wrong; it should be from 1 to {_MOST_TOKENS}")
    check_distinct(distinct)
    longest = prompt_tokens * (1 + max(map(len, _WORDS)))
    count = max(1, min(distinct, LIMIT_BYTES // longest))
    random = np.random.default_rng(seed)
    bodies = []
    for number in range(count):
        prompt = " ".join(_WORDS[word] for word in random.integers(0, len(_WORDS), prompt_tokens))
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        how = {"max_tokens": output_tokens, "ignore_eos": True, "temperature": 0, "seed": seed + number}
        bodies.append(json.dumps({"model": model, **asked, **how}).encode())
    return _of_one_length(bodies, "--prompt-tokens")


def given_requests(path: Path) -> Payload:
    """The requests of ``path``: one JSON object, or in a ``.jsonl`` one a line, which take turns."""
    try:
        whole = path.read_bytes() if path.is_file() and path.stat().st_size <= LIMIT_BYTES else b""
    except OSError as error:
        raise UsageError(f"--input: {path} cannot be read: {error.strerror}") from error
    lines = whole.splitlines() if path.suffix == ".jsonl" else [whole]
    bodies = [_request(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not bodies:
        raise UsageError(f"--input: {path} is no file of 1 to {LIMIT_BYTES} bytes that holds a request; give one")
    return _of_one_length(bodies, f"--input: {path}")


def asked_tokens(payload: Payload) -> int:
    """How long an answer the first request asks for; `USUAL_TOKENS` where it does not say, or is no such request."""
    try:
        asked = json.loads(payload.arrays["body"][0].tobytes())["max_tokens"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return USUAL_TOKENS
    return asked if type(asked) is int and 0 < asked <= _MOST_TOKENS else USUAL_TOKENS


def _request(path: Path, number: int, line: bytes) -> bytes:
    where = f"line {number} of {path}" if path.suffix == ".jsonl" else str(path)
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--input: {where} is no JSON: {error}; write one request as a JSON object") from error
    if not isinstance(request, dict) or not ("messages" in request or "prompt" in request):
        raise UsageError(f'--input: {where} asks nothing; write a JSON object with "messages" or a "prompt"')
    return json.dumps(request).encode()


def _of_one_length(bodies: Sequence[bytes], what: str) -> Payload:
    """Blanks after a JSON object mean nothing, and tensors of a pool are of one size."""
    longest = max(map(len, bodies))
    if longest * len(bodies) > LIMIT_BYTES:
        raise UsageError(
            f"{what}: {len(bodies)} requests of up to {longest} bytes are too much; keep their product at or below "
            f"{LIMIT_BYTES}"
        )
    padded = b"".join(body.ljust(longest) for body in bodies)
    return opaque_bodies(np.frombuffer(padded, np.uint8).reshape(len(bodies), longest))
