"""The ready-made answer to one kind of request, in each protocol's own words: what its codec decodes.

Made by whoever starts the null server, which knows nothing but framing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from loadgen.null.streamed import chat_pieces
from loadgen.protocols.answers import bare_bytes, write_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.post import JSON, OCTETS
from loadgen.protocols.protobuf import bytes_field, varint, varint_field
from loadgen.wire.grpc import grpc_message
from nightbench.errors import NightbenchError
from nightbench.model import DType, TensorSpec
from nightbench.server import Protocol

__all__ = ["ReadyAnswer", "ready_answer"]

_TF_TYPES: Mapping[DType, int] = {DType.FP32: 1, DType.INT32: 3, DType.UINT8: 4, DType.INT64: 9, DType.FP16: 19}
"""TensorFlow's ``DataType`` (tensorflow/core/framework/types.proto)."""


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """What the null server is given: how it frames, and what it sends."""

    speaks: Literal["http1", "grpc"]
    pieces: tuple[bytes, ...]
    """HTTP/1.1: a whole answer, its head included, each piece sent as a write of its own. gRPC: the message."""


def ready_answer(protocol: Protocol, outputs: Tensors, specs: Sequence[TensorSpec], tokens: int) -> ReadyAnswer:
    """``outputs`` carry their batch axis. ``tokens`` are streamed where tokens are what is answered with.

    Where outputs lie in shared memory the answer describes them and nobody writes them: the client does all it does
    otherwise, and decodes what lies there. `NightbenchError` for a protocol without a wire, and for outputs that a
    protocol has no words for.
    """
    if protocol is Protocol.OPENAI:
        return ReadyAnswer("http1", chat_pieces(tokens))
    write = _WRITERS.get(protocol)
    if write is None:
        raise NightbenchError(f"calibration: an {protocol} model has no null server: no wire leads to it")
    try:
        return write(outputs, specs)
    except ValueError as error:
        raise NightbenchError(f"calibration: the outputs cannot be written as {protocol} does: {error}") from error


def _counted(body: bytes, content_type: str, headers: str = "") -> ReadyAnswer:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return ReadyAnswer("http1", (head.encode() + body,))


def _call(body: bytes) -> ReadyAnswer:
    return ReadyAnswer("grpc", (grpc_message(body),))


def _lists(outputs: Tensors, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    return {spec.name: outputs[spec.name].tolist() for spec in specs}


def _rows(columns: Mapping[str, Any]) -> list[Any]:
    """One entry a batch item: the only output's value, or an object of values by name."""
    if len(columns) == 1:
        (rows,) = columns.values()
        return list(rows)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _bare(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _counted(bare_bytes(outputs, specs), OCTETS)


def _columns(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _counted(write_json({"outputs": _lists(outputs, specs)}), JSON)


def _predictions(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _counted(write_json({"predictions": _rows(_lists(outputs, specs))}), JSON)


def _unread(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _counted(b"{}", JSON)


def _kserve_http(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    """JSON that says what the binary part behind it holds (Triton's ``extension_binary_data.md``)."""
    described = _described(outputs, specs)
    for each, spec in zip(described, specs, strict=True):
        each["parameters"] = {"binary_data_size": outputs[spec.name].nbytes}
    header = _kserve_json(described)
    length = f"Inference-Header-Content-Length: {len(header)}\r\n"
    return _counted(header + bare_bytes(outputs, specs), OCTETS, length)


def _kserve_http_shm(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _counted(_kserve_json(_described(outputs, specs)), JSON)


def _kserve_grpc(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _call(_infer_response(outputs, specs, specs))


def _kserve_grpc_shm(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _call(_infer_response(outputs, specs, ()))


def _torchserve_grpc(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    """PredictionResponse of TorchServe: ``prediction`` 1."""
    return _call(bytes_field(1, bare_bytes(outputs, specs)))


def _tfserving_grpc(outputs: Tensors, specs: Sequence[TensorSpec]) -> ReadyAnswer:
    return _call(_predict_response(outputs, specs))


_WRITERS: Mapping[Protocol, Callable[[Tensors, Sequence[TensorSpec]], ReadyAnswer]] = {
    Protocol.RAW_HTTP: _bare,
    Protocol.TORCHSERVE: _bare,
    Protocol.MULTIPART: _bare,
    Protocol.JSON_HTTP: _columns,
    Protocol.TFSERVING_REST: _columns,
    Protocol.KSERVE_V1: _predictions,
    Protocol.OPAQUE_HTTP: _unread,
    Protocol.KSERVE_HTTP: _kserve_http,
    Protocol.KSERVE_HTTP_SHM: _kserve_http_shm,
    Protocol.KSERVE_GRPC: _kserve_grpc,
    Protocol.KSERVE_GRPC_SHM: _kserve_grpc_shm,
    Protocol.TFSERVING_GRPC: _tfserving_grpc,
    Protocol.TORCHSERVE_GRPC: _torchserve_grpc,
}


def _described(outputs: Tensors, specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": str(spec.dtype), "shape": list(outputs[spec.name].shape)} for spec in specs]


def _kserve_json(described: list[dict[str, Any]]) -> bytes:
    return write_json({"model_name": "null", "model_version": "1", "outputs": described})


def _infer_response(outputs: Tensors, specs: Sequence[TensorSpec], raw: Sequence[TensorSpec]) -> bytes:
    """ModelInferResponse of `grpc_predict_v2.proto`: model_name 1, outputs 5, raw_output_contents 6."""
    described = (bytes_field(5, _output_tensor(outputs[spec.name].shape, spec)) for spec in specs)
    contents = (bytes_field(6, bare_bytes(outputs, (spec,))) for spec in raw)
    return b"".join((bytes_field(1, b"null"), *described, *contents))


def _output_tensor(shape: Sequence[int], spec: TensorSpec) -> bytes:
    """InferOutputTensor: name 1, datatype 2, shape 3, which is packed."""
    extents = b"".join(map(varint, shape))
    return bytes_field(1, spec.name.encode()) + bytes_field(2, spec.dtype.encode()) + bytes_field(3, extents)


def _predict_response(outputs: Tensors, specs: Sequence[TensorSpec]) -> bytes:
    """PredictResponse of TensorFlow Serving: ``outputs`` 1, a map from names, 1, to TensorProto, 2."""
    return b"".join(
        bytes_field(1, bytes_field(1, spec.name.encode()) + bytes_field(2, _tensor_proto(outputs, spec)))
        for spec in specs
    )


def _tensor_proto(outputs: Tensors, spec: TensorSpec) -> bytes:
    """TensorProto: dtype 1, tensor_shape 2 (of ``dim`` 2, whose ``size`` is 1), tensor_content 4."""
    shape = b"".join(bytes_field(2, varint_field(1, extent)) for extent in outputs[spec.name].shape)
    kind = varint_field(1, _TF_TYPES[spec.dtype])
    return kind + bytes_field(2, shape) + bytes_field(4, bare_bytes(outputs, (spec,)))
