"""KServe V2 over HTTP/1.1 whose tensors lie in shared memory: a request is a few hundred bytes of JSON."""

import json
from collections.abc import Sequence
from typing import Any

from loadgen.protocols.answers import read_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.exchange import exchange
from loadgen.protocols.kserve_http import KServeHttp, described_outputs
from loadgen.protocols.kserve_shm import ASK_TIMEOUT_S, KServeShm
from loadgen.protocols.post import JSON
from loadgen.protocols.regions import Region
from loadgen.protocols.shared_memory import Place, Slot
from loadgen.wire.base import HoldingWire, Reply
from loadgen.wire.http1 import Http1, request_bytes

__all__ = ["KServeHttpShm"]

_OFFSET_DIGITS = 16


class KServeHttpShm(KServeShm):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        """Head and body but for the connection's own tail, which the head's length counts."""
        places = self._place(inputs)
        described = [
            {
                "name": spec.name,
                "shape": [self._batch, *spec.shape],
                "datatype": str(spec.dtype),
                "parameters": _parameters(place),
            }
            for spec, place in zip(self._inputs, places, strict=True)
        ]
        body = json.dumps({"inputs": described}, separators=(",", ":")).encode().removesuffix(b"}")
        tail = self._memory.example_tail()
        path = f"/v2/models/{self._endpoint.model}/infer"
        headers = {"Content-Type": JSON}
        whole = request_bytes(path, self._endpoint.host, self._endpoint.port, headers, body + tail)
        return whole.removesuffix(tail)

    def decode(self, body: bytes) -> Tensors:
        message = self._message(body)
        if not self._outputs:
            return KServeHttp(self._endpoint, (), (), self._batch).decode(message)
        described: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, (said, binary) in described_outputs(read_json(message)).items():
            if "data" in said or binary is not None:
                raise ValueError(f"output {name!r} came in the message, not in shared memory")
            shape = said.get("shape")
            described[name] = str(said.get("datatype")), tuple(shape) if isinstance(shape, list) else ()
        return self._read(body, described)

    def wire(self) -> "_Wire":
        return _Wire(self._memory.slot())

    def _tail(self, places: Sequence[Place]) -> bytes:
        if not places:
            return b',"parameters":{"binary_data_output":true}}'
        wanted = [
            {"name": spec.name, "parameters": _parameters(place)}
            for spec, place in zip(self._outputs, places, strict=True)
        ]
        text = json.dumps(wanted, separators=(",", ":"))
        # White space after the numbers makes all tails equally long, which JSON permits.
        digits = sum(len(str(place[1])) for place in places)
        return f',"outputs":{text}{" " * (_OFFSET_DIGITS * len(places) - digits)}}}'.encode()

    def _ask(self, verb: str, family: str, name: str, region: Region | None) -> Reply:
        host, port = self._endpoint.host, self._endpoint.port
        body = b"" if region is None else region.as_json()
        path = f"/v2/{family}sharedmemory/region/{name}/{verb}"
        return exchange(Http1(), request_bytes(path, host, port, {}, body), host, port, ASK_TIMEOUT_S)


class _Wire(Http1, HoldingWire):
    """One connection with its place for outputs."""

    __slots__ = ("_slot",)

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._slot = slot

    def begin(self, request: bytes) -> None:
        self._slot.asked = True
        super().begin(request + self._slot.tail)

    def feed(self, data: bytes) -> Reply | None:
        reply = super().feed(data)
        return reply and self._slot.answered(reply, reusable=self.reusable)

    def end(self) -> Reply:
        return self._slot.answered(super().end(), reusable=False)

    def close(self) -> None:
        self._slot.released()


def _parameters(place: Place) -> dict[str, Any]:
    region, offset, size = place
    return {
        "shared_memory_region": region,
        "shared_memory_offset": offset,
        "shared_memory_byte_size": size,
    }
