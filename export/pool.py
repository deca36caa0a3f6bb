"""The inputs a model is measured with, and the right answers to them: those of PyTorch in fp32.

A file that a user exported is its own reference, as its own runtime answers on the CPU.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import custom, models
from export.artifact import export_model, weights_facts
from export.cache import Cache, Request
from export.custom_file import file_facts, given_as
from export.draw import Arrays
from export.formats.base import THREADS, exporter, graph_facts, runtime_version, versions
from nightbench.model import InputPool, ModelSpec

__all__ = ["load_pool", "make_pool"]

_VERSION = 1
"""Raised when this module writes other bytes than before."""

_CHUNK = 8
"""Items that are answered at once; fixed, because the order of fp32 sums depends on it."""

_Ask = Callable[[Arrays], list[NDArray[np.generic]]]
"""Some items by input in; the answers to them in the order of the spec's outputs out."""


def make_pool(spec: ModelSpec, weights: str, count: int, cache: Cache) -> InputPool:
    """``count`` distinct inputs and their answers, cached. Raises `ExportError`.

    The same request gives the same bytes on the same kind of processor; another instruction set may round otherwise.
    """
    given = given_as(spec)
    original = None if given is None else export_model(spec, *given, weights, cache, {})[0].path
    by = {} if given is None else {"runtime": runtime_version(exporter(given[0]))}
    request = Request(
        label=f"{spec.name}-pool-{count}",
        suffix=".npz",
        facts={
            "model": graph_facts(spec),
            **weights_facts(weights),
            **file_facts(spec),
            **by,
            "count": count,
            "pool": _VERSION,
            "versions": versions("torch", "transformers", "numpy"),
        },
        purpose=f"making the input pool of {spec.name}",
    )

    def make(path: Path) -> Mapping[str, Any]:
        inputs = models.inputs(spec, count, weights)
        answers = _answers(spec, weights, inputs, original)
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


def _answers(spec: ModelSpec, weights: str, inputs: Arrays, original: Path | None) -> Arrays:
    """The outputs of the original, checked against the spec: shape, type, and that they say something."""
    import torch

    torch.set_num_threads(THREADS)
    count = len(next(iter(inputs.values())))
    ask = _module(spec, weights) if original is None else _runtime(spec, original)
    parts = [ask({name: array[start : start + _CHUNK] for name, array in inputs.items()}) for start in _starts(count)]
    whole = [np.concatenate(answers) for answers in zip(*parts, strict=True)]
    return custom.checked_answers(spec, whole, count)


def _starts(count: int) -> range:
    return range(0, count, _CHUNK)


def _module(spec: ModelSpec, weights: str) -> _Ask:
    import torch

    module = models.build(spec, weights)

    def ask(inputs: Arrays) -> list[NDArray[np.generic]]:
        with torch.inference_mode():
            return [answer.numpy() for answer in module(*(torch.from_numpy(array) for array in inputs.values()))]

    return ask


def _runtime(spec: ModelSpec, original: Path) -> _Ask:
    run = exporter(spec.formats[0]).open(original, spec, {})

    def ask(inputs: Arrays) -> list[NDArray[np.generic]]:
        answers = run(inputs)
        return [answers[output.name] for output in spec.outputs]

    return ask
