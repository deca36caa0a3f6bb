"""Codecs that share memory with a server, and what they have there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from loadgen.protocols import codec_for
from loadgen.protocols.kserve_grpc_shm import KServeGrpcShm
from loadgen.protocols.kserve_http_shm import KServeHttpShm
from nightbench.model import DType, TensorSpec
from nightbench.server import Endpoint, Protocol
from tests.loadgen.fake_triton import SHARED_MEMORY, FakeTriton, fake_triton

__all__ = ["PROTOCOLS", "Codec", "X", "Y", "codec", "endpoint", "ours", "tidy_triton"]

X, Y = TensorSpec("x", DType.FP32, (3,)), TensorSpec("y", DType.FP32, (3,))
PROTOCOLS = [Protocol.KSERVE_HTTP_SHM, Protocol.KSERVE_GRPC_SHM]

Codec = KServeHttpShm | KServeGrpcShm


def ours() -> list[str]:
    """What this process has in shared memory now."""
    return [path.name for path in SHARED_MEMORY.glob(f"nightbench-{os.getpid()}-shm-*")]


@contextmanager
def tidy_triton() -> Iterator[FakeTriton]:
    """A server, after which this process has nothing in shared memory."""
    with fake_triton() as triton:
        yield triton
    assert not ours(), ours()


def endpoint(server: FakeTriton, protocol: Protocol) -> Endpoint:
    port = server.http_port if protocol is Protocol.KSERVE_HTTP_SHM else server.grpc_port
    return Endpoint(protocol, "127.0.0.1", port, "m")


def codec(server: FakeTriton, protocol: Protocol, outputs: tuple[TensorSpec, ...] = (Y,)) -> Codec:
    made = codec_for(endpoint(server, protocol), (X,), outputs, 1)
    assert isinstance(made, KServeHttpShm | KServeGrpcShm)
    assert not made.streaming
    return made
