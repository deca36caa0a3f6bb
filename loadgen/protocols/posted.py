"""What every codec over a plain HTTP ``POST`` holds: the endpoint, the tensors and the batch."""

from collections.abc import Sequence

from loadgen.wire.http1 import Http1
from nightbench.model import TensorSpec
from nightbench.server import Endpoint

__all__ = ["Posted"]


class Posted:
    """The part of `loadgen.protocols.base.Codec` that is the same for all of them."""

    streaming = False

    def __init__(
        self, endpoint: Endpoint, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batch: int
    ) -> None:
        self._endpoint = endpoint
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._batch = batch

    def wire(self) -> Http1:
        return Http1()

    def close(self) -> None:
        """Nothing is held."""
