"""CUDA regions, against a runtime that keeps its memory in the host: what is asked of CUDA, and what Triton is told.

No GPU has run this yet; the real calls are the part that these tests cannot vouch for.
"""

import base64
import ctypes
import json
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from loadgen.protocols import cuda_memory
from loadgen.protocols.cuda_memory import CudaRegion
from nightbench.errors import NightbenchError

HANDLE = bytes(range(64))
"""With a zero, at which a C string would end."""


class Runtime:
    """``libcudart`` in the host's memory. ``fails`` names the call that does."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[str] = []
        self.memory: Any = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == self.fails:
                return 2
            if done := getattr(Runtime, f"_{name}", None):
                done(self, *arguments)
            return 0

        return call

    def cudaGetErrorString(self, _code: int) -> bytes:  # noqa: N802 - CUDA names it so
        return b"out of memory"

    def _cudaMalloc(self, at: Any, size: Any) -> None:  # noqa: N802
        self.memory = ctypes.create_string_buffer(size.value)
        at._obj.value = ctypes.addressof(self.memory)

    def _cudaMemcpy(self, target: Any, source: Any, size: Any, _kind: Any) -> None:  # noqa: N802
        ctypes.memmove(target, source, size.value)

    def _cudaIpcGetMemHandle(self, handle: Any, _at: Any) -> None:  # noqa: N802
        ctypes.memmove(handle, HANDLE, len(HANDLE))


def use(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Runtime:
    monkeypatch.setattr(cuda_memory, "_runtime", lambda: runtime)
    return runtime


def test_what_is_written_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = use(monkeypatch, Runtime())
    region = CudaRegion(100, 1)
    region.write(10, b"abc\0d")
    assert region.read(9, 7) == b"\0abc\0d\0"
    region.close()
    assert runtime.calls[:3] == ["cudaSetDevice", "cudaMalloc", "cudaIpcGetMemHandle"]
    assert runtime.calls[-1] == "cudaFree"


def test_the_server_is_told_the_whole_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Runtime())
    for device in (0, 3):
        region = CudaRegion(100, device)
        told = json.loads(region.as_json())
        assert base64.b64decode(told["raw_handle"]["b64"]) == HANDLE
        assert (told["device_id"], told["byte_size"]) == (device, 100)
        want = service_pb2.CudaSharedMemoryRegisterRequest(
            name=region.name, raw_handle=HANDLE, device_id=device, byte_size=100
        )
        assert region.as_protobuf() == want.SerializeToString(deterministic=True)


def test_a_gpu_that_refuses_is_an_os_error_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Runtime(fails="cudaMalloc"))
    with pytest.raises(OSError, match="cudaMalloc: out of memory"):
        CudaRegion(100, 0)
    runtime = use(monkeypatch, Runtime(fails="cudaIpcGetMemHandle"))
    with pytest.raises(OSError, match="cudaIpcGetMemHandle"):
        CudaRegion(100, 0)
    assert runtime.calls[-1] == "cudaFree"


def test_a_machine_without_cuda_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    cuda_memory._runtime.cache_clear()
    with pytest.raises(NightbenchError, match="no CUDA runtime here"):
        CudaRegion(100, 0)
