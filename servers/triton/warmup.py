"""What a model is warmed up with: one seeded item, in files that ``model_warmup`` names.

Triton's own random data are random bits: an index out of range for one model, a NaN for another.
"""

from collections.abc import Mapping

import numpy as np

from nightbench.model import Draw, ModelSpec, TensorSpec

__all__ = ["file_of", "item"]

_STREAM = 2
"""Beside those of `export.draw`: no warm-up item is a measured one."""


def file_of(position: int) -> str:
    """Where Triton looks for the data of an input, below ``<model>/warmup``."""
    return f"input_{position}"


def item(model: ModelSpec) -> Mapping[str, bytes]:
    """One item of every input as the bytes that Triton reads, by the name of its file."""
    return {
        file_of(position): _bytes(tensor, np.random.default_rng([model.seed, _STREAM, position]))
        for position, tensor in enumerate(model.inputs)
    }


def _bytes(tensor: TensorSpec, generator: np.random.Generator) -> bytes:
    dtype = np.dtype(tensor.dtype.numpy)
    match tensor.draw:
        case Draw.NORMAL:
            return generator.standard_normal(tensor.shape, dtype=np.float32).astype(dtype).tobytes()
        case Draw.INTEGER:
            return generator.integers(0, tensor.high, tensor.shape).astype(dtype).tobytes()
        case Draw.ONES:
            return np.ones(tensor.shape, dtype).tobytes()
