"""What the null server's loop and its protocols agree on: bytes in, ready-made writes out, no sockets."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Nonsense", "Side"]


class Nonsense(Exception):
    """What came is not the protocol that is spoken here; the connection is closed."""


class Side(Protocol):
    """The server's side of one connection."""

    skip: int
    """Bytes to come that mean nothing here, for they are somebody's tensors. Whoever throws away some of them unseen
    takes them off, and calls `feed` with nothing once none are left; to feed them instead is right too."""

    def feed(self, data: bytes) -> Sequence[bytes]:
        """Take received bytes; what to send, each piece as a write of its own. `Nonsense` ends the connection."""
