"""The bytes of HTTP/2 frames: RFC 9113, sections 4 and 6."""

from struct import Struct

__all__ = [
    "ACK",
    "CANCEL",
    "CONTINUATION",
    "DATA",
    "DEFAULT_WINDOW_BYTES",
    "END_HEADERS",
    "END_STREAM",
    "FRAME_LIMIT_BYTES",
    "GOAWAY",
    "HEADERS",
    "HEADER_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_WINDOW_BYTES",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "SETTINGS_ENABLE_PUSH",
    "SETTINGS_INITIAL_WINDOW_SIZE",
    "SETTINGS_MAX_FRAME_SIZE",
    "STREAM_AT",
    "U32",
    "WINDOW_UPDATE",
    "FrameError",
    "error_name",
    "frame",
    "frame_header",
    "read_header",
    "read_settings",
    "settings_frame",
    "unpadded",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
STREAM_AT = 5
"""Where in a frame's header its stream stands, to the header's end."""
FRAME_LIMIT_BYTES = 2**24
"""No payload is as long as this, whatever the peer says."""
DEFAULT_WINDOW_BYTES = 65_535
MAX_WINDOW_BYTES = 2**31 - 1
MAX_FRAME_BYTES = 16_384
"""The largest payload an endpoint must accept, and the largest unless it says otherwise."""

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE = 0x0, 0x1, 0x3, 0x4, 0x5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x6, 0x7, 0x8, 0x9

ACK, END_STREAM, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

SETTINGS_ENABLE_PUSH, SETTINGS_INITIAL_WINDOW_SIZE, SETTINGS_MAX_FRAME_SIZE = 0x2, 0x4, 0x5

CANCEL = 0x8
_ERRORS = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)

U32 = Struct(">I")
_HEADER = Struct(">HBBBI")
_SETTING = Struct(">HI")


class FrameError(Exception):
    """The peer broke the rules of HTTP/2, and how. Never leaves the wire."""


def error_name(code: int) -> str:
    """An HTTP/2 error code in words (RFC 9113, section 7)."""
    return _ERRORS[code] if code < len(_ERRORS) else f"error {code:#x}"


def frame_header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The nine bytes before a payload of ``length`` bytes."""
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One whole frame."""
    return frame_header(kind, flags, stream, len(payload)) + payload


def read_header(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Length, kind, flags and stream of the frame at ``at``, of which nine bytes must be there."""
    high, low, kind, flags, stream = _HEADER.unpack_from(data, at)
    return high << 8 | low, kind, flags, stream & 0x7FFFFFFF


def settings_frame(settings: dict[int, int]) -> bytes:
    """A SETTINGS frame; one without settings that carries no ACK is allowed too."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in settings.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings in the order in which they apply; `FrameError` on a torn payload."""
    if len(payload) % _SETTING.size:
        raise FrameError("SETTINGS of a wrong length")
    return list(_SETTING.iter_unpack(payload))


def unpadded(flags: int, payload: bytes) -> bytes:
    """A payload without its padding; `FrameError` where the padding is longer than the payload."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise FrameError("padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
