"""What a sweep sends to a server of which there is no model here: given bytes, or tensors given or drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nightbench.errors import UsageError
from nightbench.model import DType, TensorSpec

__all__ = [
    "DISTINCT",
    "LIMIT_BYTES",
    "Payload",
    "check_distinct",
    "drawn_bodies",
    "drawn_tensors",
    "file_body",
    "npz_tensors",
    "opaque_bodies",
]

DISTINCT = 16
"""Inputs to rotate through, so that no cache can answer for the server."""
LIMIT_BYTES = 256 * 2**20
"""Of all inputs together."""
_MOST_DISTINCT = 100_000
"""Each is prepared as a request of its own before anything is sent."""
_INTEGERS = 100
"""Exclusive upper bound of drawn integers: indices that most vocabularies and tables have."""
_JSON_FRAME = (b'{"data":"', b'"}')


@dataclass(frozen=True, slots=True)
class Payload:
    """A pool of items: ``arrays`` by input name, items along the first axis, ``batch`` of them in one request."""

    specs: tuple[TensorSpec, ...]
    arrays: Mapping[str, NDArray[Any]]
    batch: int
    opaque: bool = field(default=False, kw_only=True)
    """The only input is the whole body."""

    @property
    def request_bytes(self) -> int:
        """Tensor bytes of one request, before the protocol writes them its way."""
        return self.batch * sum(spec.item_bytes for spec in self.specs)

    @property
    def requests(self) -> int:
        """How many distinct requests there are."""
        return min(len(array) for array in self.arrays.values()) // self.batch

    @property
    def finite(self) -> bool:
        """Whether all numbers are ones that JSON has words for."""
        return all(np.isfinite(array).all() for array in self.arrays.values())

    def save(self, path: Path) -> None:
        """Write a pool as `loadgen.pool.Pool` reads it, without reference answers."""
        named: dict[str, Any] = {f"in.{name}": array for name, array in self.arrays.items()}
        with path.open("wb") as file:
            np.savez(file, **named)


def check_distinct(distinct: int) -> None:
    """`UsageError` for a number of inputs that cannot be drawn."""
    if not 1 <= distinct <= _MOST_DISTINCT:
        raise UsageError(f"--distinct: {distinct} is wrong; it should be from 1 to {_MOST_DISTINCT}")


def opaque_bodies(bodies: NDArray[np.uint8]) -> Payload:
    """Whole bodies of one length, one a row."""
    return Payload((TensorSpec("body", DType.UINT8, bodies.shape[1:]),), {"body": bodies}, 1, opaque=True)


def drawn_bodies(size_bytes: int, seed: int, *, json: bool, distinct: int = DISTINCT) -> Payload:
    """Seeded random bodies of exactly ``size_bytes``: bare bytes, or JSON documents ``{"data": "<letters>"}``.

    ``distinct`` of them, or as few as fit into memory kept for them.
    """
    if size_bytes <= 0:
        raise UsageError(f"--body-bytes: {size_bytes} is wrong; it should be greater than 0")
    if size_bytes > LIMIT_BYTES:
        raise UsageError(f"--body-bytes: {size_bytes} is wrong; it should be at most {LIMIT_BYTES}")
    check_distinct(distinct)
    count = min(distinct, LIMIT_BYTES // size_bytes)
    random = np.random.default_rng(seed)
    if not json:
        return opaque_bodies(random.integers(0, 256, (count, size_bytes), np.uint8))
    before, after = (np.frombuffer(part, np.uint8) for part in _JSON_FRAME)
    letters = size_bytes - len(before) - len(after)
    if letters < 0:
        raise UsageError(f"--body-bytes: {size_bytes} is wrong; a JSON body has at least {size_bytes - letters}")
    bodies = random.integers(ord("a"), ord("z") + 1, (count, size_bytes), np.uint8)
    bodies[:, : len(before)] = before
    bodies[:, size_bytes - len(after) :] = after
    return opaque_bodies(bodies)


def file_body(path: Path) -> Payload:
    """The bytes of ``path`` as the body of every request."""
    try:
        size_bytes = path.stat().st_size
        body = path.read_bytes() if path.is_file() and size_bytes <= LIMIT_BYTES else b""
    except OSError as error:
        raise UsageError(f"--input: {path} cannot be read: {error.strerror}") from error
    if not body:
        raise UsageError(f"--input: {path} is no file of 1 to {LIMIT_BYTES} bytes; give one that is")
    return opaque_bodies(np.frombuffer(body, np.uint8)[np.newaxis])


def npz_tensors(path: Path, batch: int) -> Payload:
    """The arrays of an ``.npz``: items along their first axis, of which each request carries ``batch``."""
    try:
        # NumPy leaves a file open that it could not read, so it is given one that is closed here.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise UsageError(f"--input: {path} holds one array without a name; write it with numpy.savez")
            arrays = {name: np.asarray(loaded[name]) for name in loaded.files}
    except OSError as error:
        raise UsageError(f"--input: {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, BadZipFile) as error:
        raise UsageError(f"--input: {path} is no .npz file of numbers; write it with numpy.savez") from error
    if not arrays:
        raise UsageError(f"--input: {path} holds no array; write it with numpy.savez")
    counts = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if len(counts) != 1 or counts == {0}:
        raise UsageError(
            f"--input: the arrays of {path} hold {sorted(counts)} items along their first axis; give them one number"
        )
    count = counts.pop()
    if not 1 <= batch <= count:
        raise UsageError(f"--batch: {batch} is wrong; {path} holds {count} items")
    specs = tuple(TensorSpec(name, _dtype(path, name, array), array.shape[1:]) for name, array in arrays.items())
    little = {spec.name: np.ascontiguousarray(arrays[spec.name], spec.dtype.numpy) for spec in specs}
    return _bounded(Payload(specs, little, batch), f"--input: {path}")


def drawn_tensors(descriptions: Sequence[str], seed: int, *, distinct: int = DISTINCT) -> Payload:
    """Seeded random tensors for ``NAME:DTYPE:SHAPE`` such as ``image:FP32:1x3x224x224``, batch axis first.

    Floats are standard normal, integers run from 0 to 99.
    """
    parsed = [_described(text) for text in descriptions]
    names = [name for name, _, _ in parsed]
    if len(set(names)) != len(names):
        raise UsageError(f"--input-spec: an input is given twice among {', '.join(names)}; name each once")
    batches = {shape[0] for _, _, shape in parsed}
    if len(batches) != 1:
        raise UsageError(f"--input-spec: the first axis is {sorted(batches)}; it is the batch, equal for all inputs")
    batch = batches.pop()
    specs = tuple(TensorSpec(name, dtype, shape[1:]) for name, dtype, shape in parsed)
    request_bytes = _bounded(Payload(specs, {}, batch), "--input-spec").request_bytes
    check_distinct(distinct)
    items = batch * min(distinct, LIMIT_BYTES // max(1, request_bytes))
    random = np.random.default_rng(seed)
    arrays = {spec.name: _draw(random, spec.dtype, (items, *spec.shape)) for spec in specs}
    return Payload(specs, arrays, batch)


def _draw(random: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype in (DType.FP32, DType.FP16):
        return random.standard_normal(shape, np.float32).astype(dtype.numpy)
    return random.integers(0, _INTEGERS, shape).astype(dtype.numpy)


def _described(text: str) -> tuple[str, DType, tuple[int, ...]]:
    name, _, rest = text.partition(":")
    kind, _, extents = rest.partition(":")
    try:
        shape = tuple(int(extent) for extent in extents.split("x"))
    except ValueError:
        shape = ()
    if not name or kind.upper() not in set(DType) or not shape or min(shape) < 1:
        raise UsageError(
            f"--input-spec: {text!r} is not NAME:DTYPE:SHAPE; write for example image:FP32:1x3x224x224, with DTYPE one "
            f"of {', '.join(DType)}"
        )
    return name, DType(kind.upper()), shape


def _dtype(path: Path, name: str, array: NDArray[Any]) -> DType:
    for dtype in DType:
        if array.dtype.newbyteorder("<") == np.dtype(dtype.numpy):
            return dtype
    raise UsageError(f"--input: array {name!r} of {path} is {array.dtype}; convert it to one of {', '.join(DType)}")


def _bounded(payload: Payload, what: str) -> Payload:
    if payload.request_bytes > LIMIT_BYTES:
        raise UsageError(f"{what}: one request is {payload.request_bytes} bytes; it should be at most {LIMIT_BYTES}")
    return payload
