"""The two ways in which HTTP servers spell tensors when they follow no standard: bare bytes, and JSON lists.

Everything that is not such an answer is a `ValueError`, whatever a hostile server sends.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.protocols.base import Tensors
from nightbench.model import TensorSpec

__all__ = [
    "bare_bytes",
    "from_bare_bytes",
    "from_bytes_or_json",
    "from_columns",
    "from_rows",
    "read_json",
    "write_json",
]


def bare_bytes(inputs: Tensors, specs: Sequence[TensorSpec]) -> bytes:
    """Little-endian elements in C order, one input after another in the order of ``specs``."""
    return b"".join(np.ascontiguousarray(inputs[spec.name], spec.dtype.numpy).tobytes() for spec in specs)


def from_bare_bytes(body: bytes, specs: Sequence[TensorSpec], batch: int) -> dict[str, NDArray[Any]]:
    """The outputs that follow one another in ``body``; `ValueError` if its length is another."""
    expected = batch * sum(spec.item_bytes for spec in specs)
    if len(body) != expected:
        raise ValueError(f"the body has {len(body)} bytes, not {expected}")
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for spec in specs:
        end = at + batch * spec.item_bytes
        arrays[spec.name] = np.frombuffer(body[at:end], spec.dtype.numpy).reshape(batch, *spec.shape)
        at = end
    return arrays


def write_json(value: object) -> bytes:
    """Compact JSON; `ValueError` for NaN and infinities, which JSON has no words for."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def read_json(body: bytes) -> Any:
    """What ``body`` says in JSON."""
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("the answer's JSON is nested too deeply") from error


def from_columns(answer: Any, specs: Sequence[TensorSpec], batch: int) -> dict[str, NDArray[Any]]:
    """Whole tensors by name, or the only tensor without its name."""
    if not isinstance(answer, dict):
        if len(specs) != 1:
            raise ValueError(f"the answer does not name its {len(specs)} outputs")
        answer = {specs[0].name: answer}
    return {spec.name: _tensor(spec, _named(answer, spec), batch) for spec in specs}


def from_rows(answer: Any, specs: Sequence[TensorSpec], batch: int) -> dict[str, NDArray[Any]]:
    """A list of batch items, each an object of tensors by name, or the only tensor without its name."""
    if not isinstance(answer, list) or len(answer) != batch:
        raise ValueError(f"the answer is not a list of {batch} items")
    if not all(isinstance(row, dict) for row in answer):
        return from_columns(answer, specs, batch)
    return {spec.name: _tensor(spec, [_named(row, spec) for row in answer], batch) for spec in specs}


def from_bytes_or_json(body: bytes, specs: Sequence[TensorSpec], batch: int) -> dict[str, NDArray[Any]]:
    """JSON rows or columns where ``body`` is such JSON, else bare bytes.

    Tensors that happen to spell a JSON list of the right shape would be misread; by chance they never do.
    """
    if body[:1] in (b"[", b"{"):
        try:
            answer = read_json(body)
            return from_rows(answer, specs, batch) if isinstance(answer, list) else from_columns(answer, specs, batch)
        except ValueError:
            if len(body) != batch * sum(spec.item_bytes for spec in specs):
                raise
    return from_bare_bytes(body, specs, batch)


def _named(answer: Mapping[str, Any], spec: TensorSpec) -> Any:
    if spec.name not in answer:
        raise ValueError(f"output {spec.name!r} is missing")
    return answer[spec.name]


def _tensor(spec: TensorSpec, value: Any, batch: int) -> NDArray[Any]:
    """Nested lists of numbers as the tensor they must be."""
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "biuf" and found.size:
            raise ValueError(f"output {spec.name!r} holds something else than numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            array = found.astype(spec.dtype.numpy)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"output {spec.name!r} cannot be read: {error}") from error
    if array.shape != (batch, *spec.shape):
        raise ValueError(f"output {spec.name!r} has shape {list(array.shape)}, not {[batch, *spec.shape]}")
    return array
