"""The two protobuf messages of a TensorFlow Serving prediction, written and read without protobuf or TensorFlow.

Field numbers are those of ``tensorflow_serving/apis/{predict,model}.proto`` and of
``tensorflow/core/framework/{tensor,tensor_shape,types}.proto``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from loadgen.protocols.protobuf import Value, bytes_field, fields, message_of, signed, varint_field, varints

__all__ = ["decode_response", "encode_request"]

_DATATYPES: Mapping[int, str] = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    9: "<i8",
    10: "|b1",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
"""The numbers of ``DataType`` that NumPy has types for."""
_NUMBERS = {np.dtype(code): number for number, code in _DATATYPES.items()}

_FLOATS, _DOUBLES, _INTS, _INT64S, _BOOLS, _HALVES, _UINT32S, _UINT64S = 5, 6, 7, 10, 11, 13, 16, 17
_VALUES: Mapping[str, int] = {
    "<f4": _FLOATS,
    "<f8": _DOUBLES,
    "<i4": _INTS,
    "<i2": _INTS,
    "|i1": _INTS,
    "|u1": _INTS,
    "<u2": _INTS,
    "<i8": _INT64S,
    "|b1": _BOOLS,
    "<f2": _HALVES,
    "<u4": _UINT32S,
    "<u8": _UINT64S,
}
"""The field of TensorProto, such as ``float_val``, that carries a type's values where ``tensor_content`` does not."""
_FIXED_VALUES = {_FLOATS: "<f4", _DOUBLES: "<f8"}
_VARINT_VALUES = frozenset(_VALUES.values()) - _FIXED_VALUES.keys()
_LIMIT_BYTES = 2**30
"""A few values may stand for as many as the shape asks for; no answer is longer."""


def encode_request(
    model: str, signature: str, inputs: Mapping[str, NDArray[np.generic]], outputs: Iterable[str] = ()
) -> bytes:
    """A PredictRequest with its tensors as ``tensor_content``, filtering for ``outputs`` (all if none is named).

    `ValueError` for an array whose type TensorFlow has no name for.
    """
    spec = bytes_field(1, model.encode()) + bytes_field(3, signature.encode())
    named = (
        bytes_field(2, bytes_field(1, name.encode()) + bytes_field(2, _encode_tensor(name, array)))
        for name, array in inputs.items()
    )
    return b"".join((bytes_field(1, spec), *named, *(bytes_field(3, name.encode()) for name in outputs)))


def _encode_tensor(name: str, array: NDArray[np.generic]) -> bytes:
    number = _NUMBERS.get(array.dtype.newbyteorder("<"))
    if number is None:
        raise ValueError(f"input {name!r}: TensorFlow has no type for {array.dtype}")
    # A size of 0 is proto3's default, which protobuf leaves out.
    shape = b"".join(bytes_field(2, varint_field(1, extent) if extent else b"") for extent in array.shape)
    content = array.astype(_DATATYPES[number], order="C", copy=False).tobytes()
    return varint_field(1, number) + bytes_field(2, shape) + (bytes_field(4, content) if content else b"")


def decode_response(body: bytes) -> dict[str, NDArray[np.generic]]:
    """The output tensors of a PredictResponse by name; views of ``body`` where they came as ``tensor_content``.

    `ValueError` if ``body`` is not such a message, or its contents do not fit the shapes it claims.
    """
    answers: dict[str, NDArray[np.generic]] = {}
    for number, value in fields(memoryview(body)):
        if number != 1:
            continue
        name, tensor = "", _Tensor()
        for part, entry in fields(message_of(value)):
            if part == 1:
                name = str(message_of(entry), "utf-8")
            elif part == 2:
                tensor.take(message_of(entry))
        # A later entry of a map replaces an earlier one of the same key.
        answers[name] = _array(name, tensor)
    return answers


@dataclass(slots=True)
class _Tensor:
    """A TensorProto while it is read."""

    datatype: int = 0
    shape: list[int] = field(default_factory=list)
    content: memoryview = field(default_factory=lambda: memoryview(b""))
    values: dict[int, list[NDArray[np.generic]]] = field(default_factory=dict)
    """Typed values by field number, in pieces."""

    def take(self, message: memoryview) -> None:
        for number, value in fields(message):
            if number == 1:
                self.datatype = _last(value)
            elif number == 2:
                self._take_shape(message_of(value))
            elif number == 4:
                self.content = message_of(value)
            elif number in _FIXED_VALUES or number in _VARINT_VALUES:
                self.values.setdefault(number, []).append(_typed(number, value))

    def _take_shape(self, message: memoryview) -> None:
        for number, value in fields(message):
            if number == 3 and _last(value):
                raise ValueError("an output of unknown rank")
            if number == 2:
                extent = 0
                for part, size in fields(message_of(value)):
                    if part == 1:
                        extent = signed(_last(size))
                self.shape.append(extent)


def _last(value: Value) -> int:
    """A number that is not repeated."""
    if isinstance(value, int):
        return value
    raise ValueError("bytes where a number belongs")


def _typed(number: int, piece: Value) -> NDArray[np.generic]:
    """One piece of typed values; repeated numbers may be packed or come one by one."""
    if number in _FIXED_VALUES:
        code = _FIXED_VALUES[number]
        message = message_of(piece)
        if len(message) % np.dtype(code).itemsize:
            raise ValueError("typed values of a torn length")
        return np.frombuffer(message, code)
    return np.array(varints(piece), np.uint64)


def _array(name: str, tensor: _Tensor) -> NDArray[np.generic]:
    """The tensor's values in its shape."""
    code = _DATATYPES.get(tensor.datatype)
    if code is None:
        raise ValueError(f"output {name!r}: data type {tensor.datatype} holds no numbers")
    if any(extent < 0 for extent in tensor.shape):
        raise ValueError(f"output {name!r}: negative shape {tensor.shape}")
    count = prod(tensor.shape)
    size = count * np.dtype(code).itemsize
    if size > _LIMIT_BYTES:
        raise ValueError(f"output {name!r}: shape {tensor.shape} is more than {_LIMIT_BYTES} bytes")
    if tensor.content:
        if len(tensor.content) != size:
            raise ValueError(f"output {name!r}: {len(tensor.content)} bytes do not fill shape {tensor.shape}")
        return np.frombuffer(tensor.content, code).reshape(tensor.shape)
    if tensor.values.keys() - {_VALUES[code]}:
        raise ValueError(f"output {name!r}: values of another type than {np.dtype(code)}")
    return _filled(name, tensor, code, count).reshape(tensor.shape)


def _filled(name: str, tensor: _Tensor, code: str, count: int) -> NDArray[np.generic]:
    """Typed values; where they are fewer than ``count`` the last one stands for the rest, and zero for none.

    So does TensorFlow's own ``Tensor::FromProto``.
    """
    pieces = next(iter(tensor.values.values()), [])
    flat = np.concatenate(pieces) if pieces else np.zeros(1, np.uint64)
    if code == "<f2":
        # Half-precision numbers travel as their bits.
        flat = flat.astype("<u2").view(code)
    flat = flat.astype(code)
    if not len(flat):
        flat = np.zeros(1, code)
    if len(flat) == 1:
        return np.broadcast_to(flat, count)
    if len(flat) > count:
        raise ValueError(f"output {name!r}: {len(flat)} values do not fit shape {tensor.shape}")
    return np.pad(flat, (0, count - len(flat)), mode="edge")
