"""The protobuf wire format, as much of it as a client needs that writes its messages by hand.

Encoding as in protobuf.dev/programming-guides/encoding. Reading raises `ValueError` for bytes that are no message,
and never anything else.
"""

from collections.abc import Iterator, Sequence

__all__ = ["Value", "bytes_field", "fields", "message_of", "signed", "varint", "varint_field", "varints"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

Value = int | memoryview
"""Of one field: a number, or the bytes it holds."""


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Every field of a message in order: its number, and an integer or the bytes it holds."""
    at, size = 0, len(message)
    while at < size:
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise ValueError(f"field number {number}")
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if kind == _LENGTH:
            length, at = _read_varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if length > size - at:
            raise ValueError("a field reaches beyond its message")
        yield number, message[at : at + length]
        at += length


def message_of(value: Value) -> memoryview:
    """The bytes of a field that must hold some; `ValueError` for a number."""
    if isinstance(value, memoryview):
        return value
    raise ValueError("a number where bytes belong")


def varints(value: Value) -> Sequence[int]:
    """A repeated integer field: one alone, or all of them packed."""
    if isinstance(value, int):
        return (value,)
    numbers, at = [], 0
    while at < len(value):
        number, at = _read_varint(value, at)
        numbers.append(number)
    return numbers


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """An unsigned 64-bit number and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("a number reaches beyond its message")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number of more than ten bytes")


def signed(number: int) -> int:
    """A 64-bit number as the two's complement it stands for: int32, int64 and enums travel so."""
    return number - 2**64 if number >= 2**63 else number


def varint(number: int) -> bytes:
    """A number that is not negative, in as few bytes as it needs."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of bytes, a string or a message."""
    return varint(number << 3 | _LENGTH) + varint(len(value)) + value


def varint_field(number: int, value: int) -> bytes:
    """A field of an integer that is not negative, an enum or a bool."""
    return varint(number << 3) + varint(value)
