"""The two protobuf messages of a KServe V2 inference, written and read without protobuf.

The load engine may run beside a model in a foreign environment, so it brings NumPy and little else. Field numbers
are those of `grpc_predict_v2.proto` (Open Inference Protocol); encoding as in protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_response", "encode_request"]

_DATATYPES: Mapping[str, str] = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_NAMES = {np.dtype(code): name for name, code in _DATATYPES.items()}

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_CONTENTS: Mapping[str, int] = {
    "BOOL": 1,
    "INT8": 2,
    "INT16": 2,
    "INT32": 2,
    "INT64": 3,
    "UINT8": 4,
    "UINT16": 4,
    "UINT32": 4,
    "UINT64": 5,
    "FP32": 6,
    "FP64": 7,
}
"""The field of InferTensorContents that carries a datatype. FP16 has none: it is sent raw."""
_VARINT_CONTENTS = {1: np.bool_, 2: np.int32, 3: np.int64, 4: np.uint32, 5: np.uint64}
_FIXED_CONTENTS = {6: "<f4", 7: "<f8"}

_Value = int | memoryview


def encode_request(model: str, inputs: Mapping[str, NDArray[np.generic]], outputs: Iterable[str] = ()) -> bytes:
    """A ModelInferRequest with its tensors as raw bytes, asking for ``outputs`` by name (all if none is named).

    `ValueError` for an array whose type the protocol has no name for.
    """
    tensors, contents = [], []
    for name, array in inputs.items():
        datatype = _NAMES.get(array.dtype.newbyteorder("<"))
        if datatype is None:
            raise ValueError(f"input {name!r}: {array.dtype} is no KServe V2 datatype")
        shape = b"".join(_varint(extent) for extent in array.shape)
        tensor = _bytes(1, name.encode()) + _bytes(2, datatype.encode()) + (_bytes(3, shape) if shape else b"")
        tensors.append(_bytes(5, tensor))
        contents.append(_bytes(7, array.astype(_DATATYPES[datatype], order="C", copy=False).tobytes()))
    wanted = (_bytes(6, _bytes(1, name.encode())) for name in outputs)
    return b"".join((_bytes(1, model.encode()), *tensors, *wanted, *contents))


def decode_response(body: bytes) -> dict[str, NDArray[np.generic]]:
    """The output tensors of a ModelInferResponse by name; views of ``body`` where they came as raw bytes.

    `ValueError` if ``body`` is not such a message, or its contents do not fit the shapes it claims.
    """
    tensors: list[_Tensor] = []
    raw: list[memoryview] = []
    for number, value in _fields(memoryview(body)):
        if number == 5:
            tensors.append(_tensor(_message(value)))
        elif number == 6:
            raw.append(_message(value))
    if raw and len(raw) != len(tensors):
        raise ValueError(f"{len(tensors)} outputs with {len(raw)} raw contents")
    answers: dict[str, NDArray[np.generic]] = {}
    for index, tensor in enumerate(tensors):
        if tensor.name in answers:
            raise ValueError(f"two outputs are named {tensor.name!r}")
        answers[tensor.name] = _array(tensor, raw[index] if raw else None)
    return answers


@dataclass(slots=True)
class _Tensor:
    """An InferOutputTensor while it is read."""

    name: str = ""
    datatype: str = ""
    shape: list[int] = field(default_factory=list)
    contents: dict[int, list[NDArray[np.generic]]] = field(default_factory=dict)
    """Typed contents by field number of InferTensorContents, in pieces."""


def _tensor(message: memoryview) -> _Tensor:
    tensor = _Tensor()
    for number, value in _fields(message):
        if number == 1:
            tensor.name = str(_message(value), "utf-8")
        elif number == 2:
            tensor.datatype = str(_message(value), "utf-8")
        elif number == 3:
            tensor.shape += [_signed(extent) for extent in _varints(value)]
        elif number == 5:
            for kind, piece in _fields(_message(value)):
                tensor.contents.setdefault(kind, []).append(_typed(kind, piece))
    return tensor


def _typed(kind: int, piece: _Value) -> NDArray[np.generic]:
    """One piece of typed contents; repeated numbers may be packed or come one by one."""
    if kind in _FIXED_CONTENTS:
        code = _FIXED_CONTENTS[kind]
        message = _message(piece)
        if len(message) % np.dtype(code).itemsize:
            raise ValueError("typed contents of a torn length")
        return np.frombuffer(message, code)
    if kind in _VARINT_CONTENTS:
        wide = np.array(_varints(piece), np.uint64)
        return wide.astype(_VARINT_CONTENTS[kind])
    raise ValueError(f"typed contents of kind {kind} are no numbers")


def _array(tensor: _Tensor, raw: memoryview | None) -> NDArray[np.generic]:
    """The tensor's values in its shape."""
    code = _DATATYPES.get(tensor.datatype)
    if code is None:
        raise ValueError(f"output {tensor.name!r}: datatype {tensor.datatype!r} holds no numbers")
    if any(extent < 0 for extent in tensor.shape):
        raise ValueError(f"output {tensor.name!r}: negative shape {tensor.shape}")
    count = prod(tensor.shape)
    flat: NDArray[np.generic]
    if raw is not None:
        if len(raw) != count * np.dtype(code).itemsize:
            raise ValueError(f"output {tensor.name!r}: {len(raw)} bytes do not fill shape {tensor.shape}")
        flat = np.frombuffer(raw, code)
    else:
        if tensor.contents.keys() - {_CONTENTS.get(tensor.datatype)}:
            raise ValueError(f"output {tensor.name!r}: contents of another kind than {tensor.datatype}")
        pieces = next(iter(tensor.contents.values()), [])
        flat = np.concatenate(pieces).astype(code) if pieces else np.empty(0, code)
        if len(flat) != count:
            raise ValueError(f"output {tensor.name!r}: {len(flat)} values do not fill shape {tensor.shape}")
    return flat.reshape(tensor.shape)


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
    """Every field of a message in order: its number, and an integer or the bytes it holds."""
    at, size = 0, len(message)
    while at < size:
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise ValueError(f"field number {number}")
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if kind == _LENGTH:
            length, at = _read_varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if length > size - at:
            raise ValueError("a field reaches beyond its message")
        yield number, message[at : at + length]
        at += length


def _message(value: _Value) -> memoryview:
    if isinstance(value, memoryview):
        return value
    raise ValueError("a number where bytes belong")


def _varints(value: _Value) -> Sequence[int]:
    """A repeated integer field: one alone, or all of them packed."""
    if isinstance(value, int):
        return (value,)
    numbers, at = [], 0
    while at < len(value):
        number, at = _read_varint(value, at)
        numbers.append(number)
    return numbers


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """An unsigned 64-bit number and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("a number reaches beyond its message")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number of more than ten bytes")


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(number: int, value: bytes) -> bytes:
    """A field of bytes, a string or a message."""
    return _varint(number << 3 | _LENGTH) + _varint(len(value)) + value
