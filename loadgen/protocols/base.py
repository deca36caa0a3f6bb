"""What a protocol knows: how tensors become a prebuilt request, and an answer becomes tensors."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loadgen.wire.base import Wire

__all__ = ["Codec", "Tensors"]

Tensors = Mapping[str, NDArray[np.generic]]


class Codec(Protocol):
    """One protocol to one endpoint. Made once a cell, before anything is timed."""

    def prepare(self, inputs: Tensors) -> Any:
        """The whole request as bytes the wire can send again and again. ``inputs`` carry their batch axis."""

    def decode(self, body: bytes) -> Tensors:
        """The outputs by name, with their batch axis; `ValueError` if the body is not such an answer."""

    def wire(self) -> Wire:
        """The framing for one new connection. A codec whose ``streaming`` is true gives a `StreamingWire`."""

    streaming: bool
    """Whether the parts of an answer are timed one by one."""

    def close(self) -> None:
        """Give back what the codec took beside memory, shared memory regions say. Called once, after the last reply."""
