"""A GPU's memory that a server on the same machine can open, through the CUDA runtime and nothing else.

Written after the CUDA Runtime API's "Memory Management" and "Device Management" (IPC) and Triton's
``extension_shared_memory.md``. Never run on a GPU by its authors so far: their machine has none.
"""

import ctypes
import ctypes.util
import json
import os
import secrets
from base64 import b64encode
from functools import cache
from typing import Any

from loadgen.protocols.protobuf import bytes_field, varint_field
from nightbench.errors import NightbenchError

__all__ = ["CudaRegion"]

_HANDLE_BYTES = 64
"""``CUDA_IPC_HANDLE_SIZE``."""
_TO_DEVICE, _TO_HOST = 1, 2
"""``cudaMemcpyKind``."""


class _Handle(ctypes.Structure):
    """``cudaIpcMemHandle_t``, which is passed by value."""

    _fields_ = (("reserved", ctypes.c_char * _HANDLE_BYTES),)


class CudaRegion:
    """Memory of one GPU. Implements `loadgen.protocols.regions.Region`."""

    family = "cuda"

    def __init__(self, size_bytes: int, device: int) -> None:
        """`NightbenchError` without a CUDA runtime; `OSError` where the GPU refuses, out of memory say."""
        self.name = f"nightbench-{os.getpid()}-cuda-{secrets.token_hex(6)}"
        self.size_bytes = size_bytes
        self._device = device
        self._at = ctypes.c_void_p()
        _ask("cudaSetDevice", ctypes.c_int(device))
        _ask("cudaMalloc", ctypes.byref(self._at), ctypes.c_size_t(size_bytes))
        handle = _Handle()
        try:
            _ask("cudaIpcGetMemHandle", ctypes.byref(handle), self._at)
        except OSError:
            self.close()
            raise
        # Not ``handle.reserved``, which would end at its first zero.
        self._handle = bytes(handle)

    def write(self, at: int, content: bytes) -> None:
        _ask("cudaMemcpy", self._pointer(at), content, ctypes.c_size_t(len(content)), ctypes.c_int(_TO_DEVICE))

    def read(self, at: int, size: int) -> bytes:
        content = ctypes.create_string_buffer(size)
        _ask("cudaMemcpy", content, self._pointer(at), ctypes.c_size_t(size), ctypes.c_int(_TO_HOST))
        return content.raw

    def commit(self, at: int, size: int) -> None:
        """A GPU gave all of it at once."""

    def as_json(self) -> bytes:
        handle = {"b64": b64encode(self._handle).decode()}
        return json.dumps({"raw_handle": handle, "device_id": self._device, "byte_size": self.size_bytes}).encode()

    def as_protobuf(self) -> bytes:
        device = varint_field(3, self._device) if self._device else b""
        named = bytes_field(1, self.name.encode()) + bytes_field(2, self._handle)
        return named + device + varint_field(4, self.size_bytes)

    def close(self) -> None:
        _ask("cudaFree", self._at)

    def _pointer(self, at: int) -> ctypes.c_void_p:
        return ctypes.c_void_p((self._at.value or 0) + at)


@cache
def _runtime() -> Any:
    for name in (ctypes.util.find_library("cudart"), "libcudart.so", "libcudart.so.13", "libcudart.so.12"):
        try:
            library = ctypes.CDLL(name) if name else None
        except OSError:
            continue
        if library is not None:
            library.cudaGetErrorString.restype = ctypes.c_char_p
            return library
    raise NightbenchError(
        "option region is 'cuda', but there is no CUDA runtime here; install libcudart or use 'system'"
    )


def _ask(function: str, *arguments: Any) -> None:
    """Call the runtime; `OSError` with its words if it fails."""
    runtime = _runtime()
    code = getattr(runtime, function)(*arguments)
    if code:
        raise OSError(code, f"{function}: {runtime.cudaGetErrorString(code).decode(errors='replace')}")
