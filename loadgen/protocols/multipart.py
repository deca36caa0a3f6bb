"""Tensors as the files of a web form: ``multipart/form-data`` (RFC 7578), as LitServe and many FastAPI services take.

``POST /predict`` (or the endpoint's own path): a part for each input, named after it, of little-endian elements in C
order, batch axis first. The answer may be bare bytes of the outputs, or JSON lists.
"""

from collections.abc import Collection

import numpy as np

from loadgen.protocols.answers import from_bytes_or_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.post import OCTETS, post
from loadgen.protocols.posted import Posted

__all__ = ["Multipart"]


class Multipart(Posted):
    """Implements `loadgen.protocols.base.Codec`."""

    def prepare(self, inputs: Tensors) -> bytes:
        """`ValueError` for an input whose name a part's head cannot carry."""
        parts = {
            _quoted(spec.name): np.ascontiguousarray(inputs[spec.name], spec.dtype.numpy).tobytes()
            for spec in self._inputs
        }
        boundary = _boundary(parts.values())
        pieces: list[bytes] = []
        for name, content in parts.items():
            head = (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
                f"Content-Type: {OCTETS}\r\n\r\n"
            )
            pieces += (head.encode(), content, b"\r\n")
        pieces.append(f"--{boundary}--\r\n".encode())
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "X-Batch": str(self._batch)}
        return post(self._endpoint, "/predict", headers, b"".join(pieces))

    def decode(self, body: bytes) -> Tensors:
        return from_bytes_or_json(body, self._outputs, self._batch)


def _quoted(name: str) -> str:
    if any(character in name for character in '"\r\n\\'):
        raise ValueError(f"input {name!r} cannot be the name of a part")
    return name


def _boundary(contents: Collection[bytes]) -> str:
    """A line that none of the parts holds; the same for the same parts."""
    number = 0
    while any(f"nightbench-{number}".encode() in content for content in contents):
        number += 1
    return f"nightbench-{number}"
