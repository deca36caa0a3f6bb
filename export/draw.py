"""Seeded inputs: the same spec, count and stream give the same arrays, and each item differs from every other."""

import numpy as np
from numpy.typing import NDArray

from nightbench.errors import ExportError
from nightbench.model import Draw, ModelSpec, TensorSpec

__all__ = ["CALIBRATION", "POOL", "Arrays", "draw"]

Arrays = dict[str, NDArray[np.generic]]

POOL = 0
"""The stream of the inputs that are measured."""
CALIBRATION = 1
"""The stream random weights are scaled with; apart, so that no measured input is a calibrated one."""


def _tensor(spec: TensorSpec, count: int, generator: np.random.Generator) -> NDArray[np.generic]:
    shape, dtype = (count, *spec.shape), np.dtype(spec.dtype.numpy)
    match spec.draw:
        case Draw.NORMAL:
            return generator.standard_normal(shape, dtype=np.float32).astype(dtype)
        case Draw.INTEGER:
            return generator.integers(0, spec.high, shape).astype(dtype)
        case Draw.ONES:
            return np.ones(shape, dtype)


def draw(spec: ModelSpec, count: int, stream: int) -> Arrays:
    """``count`` items of every input by name, along the first axis.

    Raises `ExportError` where the inputs have too few values to give ``count`` distinct items.
    """
    arrays = {
        tensor.name: _tensor(tensor, count, np.random.default_rng([spec.seed, stream, position]))
        for position, tensor in enumerate(spec.inputs)
    }
    items = {b"".join(array[item].tobytes() for array in arrays.values()) for item in range(count)}
    if len(items) < count:
        raise ExportError(
            f"model {spec.name}: its inputs give only {len(items)} distinct items of {count}; "
            "ask for a smaller pool or raise 'high'"
        )
    return arrays
