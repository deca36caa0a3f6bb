"""The file that holds a ready-made answer: each piece behind its length, four bytes, most significant first."""

from collections.abc import Iterable
from pathlib import Path
from struct import Struct

__all__ = ["read_pieces", "write_pieces"]

_LENGTH = Struct(">I")


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Each piece becomes a write of its own; together they are one answer."""
    path.write_bytes(b"".join(_LENGTH.pack(len(piece)) + piece for piece in pieces))


def read_pieces(path: Path) -> tuple[bytes, ...]:
    """What `write_pieces` wrote; `ValueError` if the file was not."""
    data = path.read_bytes()
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(data, at)[0] if start <= len(data) else start
        if end > len(data):
            raise ValueError(f"{path} ends in the middle of a piece")
        pieces.append(data[start:end])
        at = end
    return tuple(pieces)
