"""Capture files as tcpdump would write them, made of what a test says was sent."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["SERVER_PORT", "Segment", "capture"]

SERVER_PORT = 8000
_SNAP_BYTES = 96


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment on the loopback interface."""

    at_ns: int
    source_port: int
    target_port: int
    sequence: int
    payload: bytes = b""
    syn: bool = False


def capture(segments: Iterable[Segment], order: str = "<", nano: bool = True, link: int = 1) -> bytes:
    magic, unit_ns = (0xA1B23C4D, 1) if nano else (0xA1B2C3D4, 1_000)
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, _SNAP_BYTES, link)]
    for segment in segments:
        frame = _frame(segment)
        seconds, rest_ns = divmod(segment.at_ns, 1_000_000_000)
        parts.append(struct.pack(f"{order}IIII", seconds, rest_ns // unit_ns, min(len(frame), _SNAP_BYTES), len(frame)))
        parts.append(frame[:_SNAP_BYTES])
    return b"".join(parts)


def _frame(segment: Segment) -> bytes:
    options = bytes(12)
    tcp = struct.pack(
        ">HHIIBBHHH",
        *(segment.source_port, segment.target_port, segment.sequence % 2**32, 0),
        *((20 + len(options)) // 4 << 4, 2 if segment.syn else 16, 512, 0, 0),
    )
    total = 20 + len(tcp) + len(options) + len(segment.payload)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, 0, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
    return bytes(12) + b"\x08\x00" + ip + tcp + options + segment.payload
