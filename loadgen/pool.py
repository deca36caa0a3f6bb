"""The input pool as the engine uses it: distinct inputs, their reference answers, and requests made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from loadgen.protocols.base import Tensors
from nightbench.errors import NightbenchError
from nightbench.model import TensorSpec
from nightbench.parity import Part, scales

__all__ = ["Pool", "rotation"]

_PREBUILT_LIMIT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Pool:
    """``count`` items: inputs and the reference's outputs for them, by name, items along the first axis."""

    count: int
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """`TensorSpec.parts` of the outputs."""

    @classmethod
    def read(cls, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> "Pool":
        """Read a `nightbench.model.InputPool` file; `NightbenchError` if it does not hold these tensors."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise NightbenchError(f"input pool {path}: cannot be read: {error}") from error
        taken = {
            kind: {spec.name: _checked(path, arrays, f"{kind}.{spec.name}", spec) for spec in specs}
            for kind, specs in (("in", inputs), ("out", outputs))
        }
        counts = {len(array) for tensors in taken.values() for array in tensors.values()}
        if len(counts) != 1 or counts == {0}:
            raise NightbenchError(f"input pool {path}: its tensors hold {sorted(counts)} items, not one number")
        parts = {spec.name: spec.parts for spec in outputs}
        return cls(count=counts.pop(), inputs=taken["in"], outputs=taken["out"], parts=parts)

    def request(self, start: int, batch: int) -> Tensors:
        """Inputs of ``batch`` consecutive items from ``start`` on, wrapping round."""
        return {name: _take(array, start, batch) for name, array in self.inputs.items()}

    def expected(self, start: int, batch: int) -> Tensors:
        """The reference's answers to `request` with the same arguments."""
        return {name: _take(array, start, batch) for name, array in self.outputs.items()}

    def scales(self) -> dict[str, tuple[Part, ...]]:
        """How large each output is, for `nightbench.parity.difference`."""
        return {name: scales(array, self.parts.get(name, ())) for name, array in self.outputs.items()}


def rotation(pool: Pool, inputs: Sequence[TensorSpec], batch: int, seed: int) -> list[int]:
    """First items of the distinct requests to rotate through, in a seeded order.

    There are as many as the pool has items, or as few as keep the prebuilt bytes in bounds.
    """
    request_bytes = batch * sum(spec.item_bytes for spec in inputs)
    fitting = max(1, _PREBUILT_LIMIT_BYTES // max(1, request_bytes))
    order = np.random.default_rng(seed).permutation(pool.count)
    return [int(start) for start in order[:fitting]]


def _take(array: NDArray[Any], start: int, batch: int) -> NDArray[Any]:
    return array[np.arange(start, start + batch) % len(array)]


def _checked(path: Path, arrays: Mapping[str, NDArray[Any]], name: str, spec: TensorSpec) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None:
        raise NightbenchError(f"input pool {path}: there is no array {name!r}")
    if array.dtype != np.dtype(spec.dtype.numpy) or array.shape[1:] != spec.shape:
        raise NightbenchError(
            f"input pool {path}: {name!r} is {array.dtype} {list(array.shape[1:])}, "
            f"the model wants {spec.dtype} {list(spec.shape)}"
        )
    return array
