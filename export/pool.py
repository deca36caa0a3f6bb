"""The inputs a model is measured with, and PyTorch's fp32 answers to them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from export import zoo
from export.artifact import weights_facts
from export.cache import Cache, Request
from export.draw import Arrays
from export.formats.base import THREADS, versions
from nightbench.errors import ExportError
from nightbench.model import InputPool, ModelSpec

__all__ = ["load_pool", "make_pool"]

_VERSION = 1
"""Raised when this module writes other bytes than before."""

_CHUNK = 8
"""Items PyTorch answers at once; fixed, because the order of fp32 sums depends on it."""


def make_pool(spec: ModelSpec, weights: str, count: int, cache: Cache) -> InputPool:
    """``count`` distinct inputs and their answers, cached. Raises `ExportError`.

    The same request gives the same bytes on the same kind of processor; another instruction set may round otherwise.
    """
    request = Request(
        label=f"{spec.name}-pool-{count}",
        suffix=".npz",
        facts={
            "model": asdict(spec),
            **weights_facts(weights),
            "count": count,
            "pool": _VERSION,
            "versions": versions("torch", "transformers", "numpy"),
        },
        purpose=f"making the input pool of {spec.name}",
    )

    def make(path: Path) -> Mapping[str, Any]:
        inputs = zoo.inputs(spec, count)
        answers = _answers(spec, weights, inputs)
        named = {f"in.{name}": array for name, array in inputs.items()}
        named |= {f"out.{name}": array for name, array in answers.items()}
        with path.open("wb") as file:
            # allow_pickle is spelled out for mypy, which would take an array for it otherwise
            np.savez(file, allow_pickle=False, **named)
        return {"count": count}

    entry = cache.get(request, make)
    return InputPool(model=spec.name, weights=weights, count=count, path=entry.path, sha256=entry.sha256)


def load_pool(pool: InputPool) -> tuple[Arrays, Arrays]:
    """The pool's inputs and reference outputs by name."""
    with np.load(pool.path, allow_pickle=False) as arrays:
        named = {name: arrays[name] for name in arrays.files}
    inputs = {name.removeprefix("in."): array for name, array in named.items() if name.startswith("in.")}
    outputs = {name.removeprefix("out."): array for name, array in named.items() if name.startswith("out.")}
    return inputs, outputs


def _answers(spec: ModelSpec, weights: str, inputs: Arrays) -> Arrays:
    """PyTorch's outputs, checked against the spec: shape, type, and that they say something."""
    import torch

    torch.set_num_threads(THREADS)
    module = zoo.build(spec, weights)
    count = len(next(iter(inputs.values())))

    def chunks() -> Iterator[tuple[torch.Tensor, ...]]:
        for start in range(0, count, _CHUNK):
            tensors = (torch.from_numpy(array[start : start + _CHUNK]) for array in inputs.values())
            yield module(*tensors)

    with torch.inference_mode():
        parts = list(chunks())
    answers: Arrays = {}
    for position, output in enumerate(spec.outputs):
        array = torch.cat([part[position] for part in parts]).numpy()
        want = (count, *output.shape)
        if array.shape != want or array.dtype != np.dtype(output.dtype.numpy):
            raise ExportError(
                f"model {spec.name} with weights {weights!r}: output {output.name!r} is {array.dtype}{array.shape}, "
                f"but its spec says {np.dtype(output.dtype.numpy)}{want}"
            )
        if not np.isfinite(array).all():
            raise ExportError(
                f"model {spec.name} with weights {weights!r}: output {output.name!r} is not finite in PyTorch itself"
            )
        answers[output.name] = array
    return answers
