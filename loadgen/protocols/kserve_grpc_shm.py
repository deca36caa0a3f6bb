"""KServe V2 over gRPC whose tensors lie in shared memory: a request is a few hundred bytes of protobuf."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from loadgen.protocols.base import Tensors
from loadgen.protocols.call import call
from loadgen.protocols.exchange import exchange
from loadgen.protocols.kserve_grpc import INFER, SERVICE
from loadgen.protocols.kserve_shm import ASK_TIMEOUT_S, KServeShm
from loadgen.protocols.protobuf import bytes_field, varint, varint_field
from loadgen.protocols.regions import Region
from loadgen.protocols.shared_memory import Place, Slot
from loadgen.protocols.v2 import decode_response, described_outputs
from loadgen.wire.base import HoldingWire, Reply
from loadgen.wire.grpc import GrpcRequest
from loadgen.wire.http2 import Http2Wire

__all__ = ["KServeGrpcShm"]

_OFFSET_BYTES = 8


class _Call(NamedTuple):
    """What an `Http2Wire` reads of a `GrpcRequest`, which it makes anew for each connection's places."""

    block: bytes
    pieces: tuple[bytes, ...]
    message: bytes
    """But for the connection's own tail, which its length counts."""


class KServeGrpcShm(KServeShm):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> _Call:
        body = [bytes_field(1, self._endpoint.model.encode())]
        for spec, place in zip(self._inputs, self._place(inputs), strict=True):
            shape = b"".join(varint(extent) for extent in (self._batch, *spec.shape))
            described = bytes_field(1, spec.name.encode()) + bytes_field(2, str(spec.dtype).encode())
            body.append(bytes_field(5, described + bytes_field(3, shape) + _parameters(4, place)))
        tail = self._memory.example_tail()
        whole = call(self._endpoint, INFER, b"".join((*body, tail)))
        return _Call(whole.block, whole.pieces[:2], whole.message.removesuffix(tail))

    def decode(self, body: bytes) -> Tensors:
        message = self._message(body)
        return self._read(body, described_outputs(message)) if self._outputs else decode_response(message)

    def wire(self) -> "_Wire":
        return _Wire(self._memory.slot())

    def _tail(self, places: Sequence[Place]) -> bytes:
        return b"".join(
            bytes_field(6, bytes_field(1, spec.name.encode()) + _parameters(2, place))
            for spec, place in zip(self._outputs, places, strict=False)
        )

    def _ask(self, verb: str, family: str, name: str, region: Region | None) -> Reply:
        body = bytes_field(1, name.encode()) if region is None else region.as_protobuf()
        asked = call(self._endpoint, f"{SERVICE}/{family.title()}SharedMemory{verb.title()}", body)
        return exchange(Http2Wire(), asked, self._endpoint.host, self._endpoint.port, ASK_TIMEOUT_S)


class _Wire(Http2Wire, HoldingWire):
    """One connection with its place for outputs."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._slot = slot

    def begin(self, request: _Call) -> None:  # type: ignore[override]  # its own codec prepares them
        self._slot.asked = True
        message = request.message + self._slot.tail
        whole = _Call(request.block, (*request.pieces, message), message)
        super().begin(cast("GrpcRequest", whole))

    def feed(self, data: bytes) -> Reply | None:
        reply = super().feed(data)
        return reply and self._slot.answered(reply, reusable=self.reusable)

    def end(self) -> Reply:
        return self._slot.answered(super().end(), reusable=False)

    def close(self) -> None:
        self._slot.released()


def _parameters(number: int, place: Place) -> bytes:
    """The entries of a ``map<string, InferParameter>`` that name a place, in as many bytes for every offset."""
    region, offset, size = place
    # A varint may have more bytes than it needs: the last of these is empty.
    wide = bytes((offset >> 7 * at) & 0x7F | 0x80 for at in range(_OFFSET_BYTES - 1)) + b"\0"
    values = {
        "shared_memory_region": bytes_field(3, region.encode()),
        "shared_memory_offset": varint(2 << 3) + wide,
        "shared_memory_byte_size": varint_field(2, size),
    }
    return b"".join(
        bytes_field(number, bytes_field(1, key.encode()) + bytes_field(2, value)) for key, value in values.items()
    )
