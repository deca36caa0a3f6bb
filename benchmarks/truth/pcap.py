"""The TCP segments of a capture file as columns: Ethernet and IPv4, as tcpdump writes them on a loopback interface.

The file format: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/ ; the headers: RFC 791 and RFC 9293.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Packets", "read"]

_MAGIC = {
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""Byte order, and nanoseconds of a fraction's unit."""
_FILE_HEADER, _RECORD_HEADER, _ETHERNET = 24, 16, 14
_LINK_ETHERNET = 1
_IPV4, _TCP = b"\x08\x00", 6
_SYN = 0x02


@dataclass(frozen=True, slots=True)
class Packets:
    """TCP segments in the order of the file; columns of equal length."""

    at_ns: NDArray[np.int64]
    """Since 1970, of the kernel's clock."""
    source_port: NDArray[np.int64]
    target_port: NDArray[np.int64]
    sequence: NDArray[np.int64]
    """Of the payload's first byte."""
    payload_bytes: NDArray[np.int64]
    """On the wire: the file may hold fewer."""
    opens: NDArray[np.bool_]
    """A SYN: a connection begins."""
    posts: NDArray[np.bool_]
    """The payload begins with ``POST``."""


def read(data: bytes) -> Packets:
    """A whole file's; other protocols are left out. A record cut off at the end is not there: a writer was stopped.

    `ValueError` for what is no capture file of Ethernet.
    """
    order, unit_ns = _MAGIC.get(data[:4], ("", 0))
    if not order or len(data) < _FILE_HEADER:
        raise ValueError("this is no pcap file: it does not begin with the format's header")
    (link,) = struct.unpack_from(f"{order}I", data, 20)
    if link & 0xFFFF != _LINK_ETHERNET:
        raise ValueError(f"the pcap file holds link type {link & 0xFFFF}, and only Ethernet (1) is read")
    header, ports = struct.Struct(f"{order}IIII"), struct.Struct(">HHI")
    rows: list[tuple[int, int, int, int, int, bool, bool]] = []
    at, end = _FILE_HEADER, len(data)
    while at + _RECORD_HEADER <= end:
        seconds, fraction, held, _ = header.unpack_from(data, at)
        ip = at + _RECORD_HEADER + _ETHERNET
        at += _RECORD_HEADER + held
        if at > end:
            break
        if at < ip + 20 or data[ip - 2 : ip] != _IPV4 or data[ip] >> 4 != 4 or data[ip + 9] != _TCP:
            continue
        tcp = ip + 4 * (data[ip] & 15)
        if at < tcp + 20:
            continue
        payload = tcp + 4 * (data[tcp + 12] >> 4)
        source, target, sequence = ports.unpack_from(data, tcp)
        rows.append(
            (
                seconds * 1_000_000_000 + fraction * unit_ns,
                source,
                target,
                sequence,
                max(0, (data[ip + 2] << 8 | data[ip + 3]) - (payload - ip)),
                bool(data[tcp + 13] & _SYN),
                data[payload : min(payload + 4, at)] == b"POST",
            )
        )
    columns = zip(*rows, strict=True) if rows else ((),) * 7
    types = (np.int64,) * 5 + (np.bool_,) * 2
    return Packets(*(np.array(column, kind) for column, kind in zip(columns, types, strict=True)))
