"""Given bytes over HTTP/1.1, posted as they are: for servers of which nothing is known but what they accept.

The only input is the body itself, a tensor of bytes. Answers are judged by their status and never looked into.
"""

from loadgen.protocols.base import Tensors
from loadgen.protocols.post import post
from loadgen.protocols.posted import Posted

__all__ = ["OpaqueHttp"]


class OpaqueHttp(Posted):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        (body,) = inputs.values()
        return post(self._endpoint, "/", self._endpoint.headers, body.tobytes())

    def decode(self, body: bytes) -> Tensors:
        return {}
