"""The two protobuf messages of a KServe V2 inference, written and read without protobuf.

The load engine may run beside a model in a foreign environment, so it brings NumPy and little else. Field numbers
are those of `grpc_predict_v2.proto` (Open Inference Protocol).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from loadgen.protocols.protobuf import Value, bytes_field, fields, message_of, signed, varint, varints

__all__ = ["decode_response", "described_outputs", "encode_request"]

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


def encode_request(model: str, inputs: Mapping[str, NDArray[np.generic]], outputs: Iterable[str] = ()) -> bytes:
    """A ModelInferRequest with its tensors as raw bytes, asking for ``outputs`` by name (all if none is named).

    `ValueError` for an array whose type the protocol has no name for.
    """
    tensors, contents = [], []
    for name, array in inputs.items():
        datatype = _NAMES.get(array.dtype.newbyteorder("<"))
        if datatype is None:
            raise ValueError(f"input {name!r}: {array.dtype} is no KServe V2 datatype")
        shape = b"".join(varint(extent) for extent in array.shape)
        tensor = bytes_field(1, name.encode()) + bytes_field(2, datatype.encode())
        tensors.append(bytes_field(5, tensor + (bytes_field(3, shape) if shape else b"")))
        contents.append(bytes_field(7, array.astype(_DATATYPES[datatype], order="C", copy=False).tobytes()))
    wanted = (bytes_field(6, bytes_field(1, name.encode())) for name in outputs)
    return b"".join((bytes_field(1, model.encode()), *tensors, *wanted, *contents))


def decode_response(body: bytes) -> dict[str, NDArray[np.generic]]:
    """The output tensors of a ModelInferResponse by name; views of ``body`` where they came as raw bytes.

    `ValueError` if ``body`` is not such a message, or its contents do not fit the shapes it claims.
    """
    return {tensor.name: _array(tensor, raw) for tensor, raw in _outputs(body)}


def described_outputs(body: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Datatype and shape, by name, of the outputs of a ModelInferResponse whose contents lie elsewhere.

    `ValueError` if ``body`` is not such a message, or holds contents after all.
    """
    described: dict[str, tuple[str, tuple[int, ...]]] = {}
    for tensor, raw in _outputs(body):
        if raw or tensor.contents:
            raise ValueError(f"output {tensor.name!r} came in the message, not in shared memory")
        described[tensor.name] = tensor.datatype, tuple(tensor.shape)
    return described


@dataclass(slots=True)
class _Tensor:
    """An InferOutputTensor while it is read."""

    name: str = ""
    datatype: str = ""
    shape: list[int] = field(default_factory=list)
    contents: dict[int, list[NDArray[np.generic]]] = field(default_factory=dict)
    """Typed contents by field number of InferTensorContents, in pieces."""


def _outputs(body: bytes) -> list[tuple[_Tensor, memoryview | None]]:
    """The outputs of a ModelInferResponse, each with its raw contents if they came so; no name comes twice."""
    tensors: dict[str, _Tensor] = {}
    raw: list[memoryview | None] = []
    for number, value in fields(memoryview(body)):
        if number == 5:
            tensor = _tensor(message_of(value))
            if tensor.name in tensors:
                raise ValueError(f"two outputs are named {tensor.name!r}")
            tensors[tensor.name] = tensor
        elif number == 6:
            raw.append(message_of(value))
    if raw and len(raw) != len(tensors):
        raise ValueError(f"{len(tensors)} outputs with {len(raw)} raw contents")
    return list(zip(tensors.values(), raw or [None] * len(tensors), strict=True))


def _tensor(message: memoryview) -> _Tensor:
    tensor = _Tensor()
    for number, value in fields(message):
        if number == 1:
            tensor.name = str(message_of(value), "utf-8")
        elif number == 2:
            tensor.datatype = str(message_of(value), "utf-8")
        elif number == 3:
            tensor.shape += [signed(extent) for extent in varints(value)]
        elif number == 5:
            for kind, piece in fields(message_of(value)):
                tensor.contents.setdefault(kind, []).append(_typed(kind, piece))
    return tensor


def _typed(kind: int, piece: Value) -> NDArray[np.generic]:
    """One piece of typed contents; repeated numbers may be packed or come one by one."""
    if kind in _FIXED_CONTENTS:
        code = _FIXED_CONTENTS[kind]
        message = message_of(piece)
        if len(message) % np.dtype(code).itemsize:
            raise ValueError("typed contents of a torn length")
        return np.frombuffer(message, code)
    if kind in _VARINT_CONTENTS:
        wide = np.array(varints(piece), np.uint64)
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
