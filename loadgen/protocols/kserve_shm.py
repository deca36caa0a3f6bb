"""What KServe V2 with tensors in shared memory is over HTTP and gRPC alike (Triton's ``extension_shared_memory.md``).

The server must run on this machine and see our ``/dev/shm``: a container needs ``--ipc=host``. The endpoint's option
``region`` is ``system``, the default, or ``cuda`` for the memory of the GPU whose number is its ``region_device``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.protocols.base import Tensors
from loadgen.protocols.regions import Region, SystemRegion, remove_orphans
from loadgen.protocols.shared_memory import Place, SharedMemory
from loadgen.wire.base import Reply
from nightbench.errors import NightbenchError, UsageError
from nightbench.model import TensorSpec
from nightbench.samples import Outcome
from nightbench.server import Endpoint

__all__ = ["ASK_TIMEOUT_S", "KServeShm"]

ASK_TIMEOUT_S = 5.0
"""To register a region takes a millisecond; a server may be busy."""
_SYSTEM_LIMIT_BYTES = 4 * 2**30
"""Of the outputs' region, whose pages are made when a connection first needs them."""
_CUDA_LIMIT_BYTES = 2**28
"""A GPU's memory is taken at once."""

Described = Mapping[str, tuple[str, tuple[int, ...]]]
"""Datatype and shape of each output, by name."""


class KServeShm(ABC):
    """The part of `loadgen.protocols.base.Codec` that is the same for both.

    `prepare` writes to shared memory and registers it with the server: `NightbenchError` where that fails. `wire`
    raises `OSError` where there is no room for another connection's outputs.
    """

    streaming = False

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int
    ) -> None:
        self._endpoint = endpoint
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._batch = batch
        make, limit_bytes = _maker(endpoint)
        self._memory = SharedMemory(
            make,
            self._register,
            self._unregister,
            self._tail,
            [batch * spec.item_bytes for spec in self._outputs],
            limit_bytes,
        )
        self._tidy = False

    @abstractmethod
    def _ask(self, verb: str, family: str, name: str, region: Region | None) -> Reply:
        """``register`` the region, or ``unregister`` one of that family and name, and wait for the answer."""

    @abstractmethod
    def _tail(self, places: Sequence[Place]) -> bytes:
        """The end of a request whose outputs go to ``places``, which are none if the model's outputs are unknown.

        All tails of one codec are equally long.
        """

    def close(self) -> None:
        self._memory.close()

    def _place(self, inputs: Tensors) -> list[Place]:
        """The inputs in shared memory, in the order of the model's."""
        if not self._tidy:
            self._tidy = True
            for name in remove_orphans():
                # A server that outlived its client may hold the region still. Whether it does is of no consequence.
                self._ask("unregister", "system", name, None)
        return self._memory.place(
            [np.ascontiguousarray(inputs[spec.name], spec.dtype.numpy).tobytes() for spec in self._inputs]
        )

    def _message(self, body: bytes) -> bytes:
        """The server's own message in a reply's body."""
        return body[self._memory.reply_bytes :]

    def _read(self, body: bytes, described: Described) -> Tensors:
        """The outputs that lie before the message; `ValueError` unless it describes just what was asked for."""
        arrays: dict[str, NDArray[Any]] = {}
        for spec, (start, size) in zip(self._outputs, self._memory.reply_places, strict=True):
            wanted = (str(spec.dtype), (self._batch, *spec.shape))
            if described.get(spec.name) != wanted:
                raise ValueError(f"output {spec.name!r} is {described.get(spec.name)}, not {wanted}")
            arrays[spec.name] = np.frombuffer(body[start : start + size], spec.dtype.numpy).reshape(wanted[1])
        return arrays

    def _register(self, region: Region) -> None:
        reply = self._ask("register", region.family, region.name, region)
        if reply.outcome is not Outcome.OK:
            raise NightbenchError(
                f"the server does not take {region.family} shared memory: {reply.outcome.label}: {reply.detail}; "
                "it has to run on this machine and to see its /dev/shm"
            )

    def _unregister(self, region: Region) -> None:
        reply = self._ask("unregister", region.family, region.name, None)
        if reply.outcome is not Outcome.OK:
            raise NightbenchError(f"the server keeps shared memory {region.name}: {reply.detail}")


def _maker(endpoint: Endpoint) -> tuple[Callable[[int], Region], int]:
    """What makes regions of the asked family, and how large the outputs' may be."""
    family = endpoint.options.get("region", "system")
    if family == "system":
        return SystemRegion, _SYSTEM_LIMIT_BYTES
    if family != "cuda":
        raise UsageError(f"option region is {family!r}; it should be 'system' or 'cuda'")
    from loadgen.protocols.cuda_memory import CudaRegion

    return partial(CudaRegion, device=int(endpoint.options.get("region_device", 0))), _CUDA_LIMIT_BYTES
