"""One nonblocking TCP connection: a socket, a wire, and whatever the kernel would not take yet."""

import os
import select
import socket
from dataclasses import dataclass

from loadgen.wire.base import HoldingWire, Wire

__all__ = ["Address", "Connection", "resolve"]

_IOV_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Address:
    """A numeric address that connecting needs no look-up for."""

    family: int
    sockaddr: tuple[str | int | bytes, ...]


def resolve(host: str, port: int) -> Address:
    """The first address of ``host``; `OSError` if it has none."""
    family, _, _, _, sockaddr = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return Address(int(family), sockaddr)


class Connection:
    """Carries one request at a time. The row fields belong to the request in flight."""

    __slots__ = (
        "_broken",
        "_epoll",
        "_listens_for_room",
        "_send",
        "_unsent",
        "connecting",
        "fd",
        "received",
        "recv",
        "row",
        "sock",
        "taken_ns",
        "wire",
    )

    def __init__(self, address: Address, wire: Wire, epoll: select.epoll) -> None:
        """Begin to connect; `OSError` if that fails at once."""
        self.wire = wire
        self.row = -1
        """The request in flight, or -1."""
        self.taken_ns = 0
        """When the request was handed to this connection: its timeout counts from here."""
        self.received = 0
        self._unsent: list[memoryview] = []
        self._broken = False
        self._epoll = epoll
        self.sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.sock.connect(address.sockaddr)
                self.connecting = False
            except BlockingIOError:
                self.connecting = True
        except OSError:
            self.sock.close()
            raise
        # Looked up once: both are called for every request.
        self.recv = self.sock.recv
        self._send = self.sock.send
        self.fd = self.sock.fileno()
        self._listens_for_room = self.connecting
        epoll.register(self.fd, select.EPOLLIN | (select.EPOLLOUT if self.connecting else 0))

    @property
    def usable(self) -> bool:
        """Whether another request may follow the last reply."""
        return not self._unsent and not self._broken and self.wire.reusable

    def connected(self) -> None:
        """The kernel says the attempt is over: `OSError` if it failed."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        self.connecting = False

    def flush(self) -> None:
        """Send what the wire has ready, as far as the kernel takes it; the rest follows on its next call.

        Raises `OSError` if the connection broke. A peer that merely stopped reading is not an error here: it may
        have answered already.
        """
        fresh = self.wire.output()
        if not fresh and not self._unsent:
            return
        try:
            if len(fresh) == 1 and not self._unsent:
                # The usual case: one prebuilt run of bytes that fits.
                part = fresh[0]
                sent = self._send(part)
                if sent < len(part):
                    self._unsent.append(memoryview(part)[sent:])
            else:
                self._unsent += [memoryview(part) for part in fresh]
                self._drain()
        except BlockingIOError:
            self._unsent = self._unsent or [memoryview(part) for part in fresh]
        except BrokenPipeError:
            self._unsent.clear()
            self._broken = True
        if self._listens_for_room or self._unsent:
            self._listen()

    def _drain(self) -> None:
        while self._unsent:
            sent = self.sock.sendmsg(self._unsent[:_IOV_LIMIT])
            while self._unsent and sent >= len(self._unsent[0]):
                sent -= len(self._unsent.pop(0))
            if sent:
                self._unsent[0] = self._unsent[0][sent:]

    def _listen(self) -> None:
        wanted = bool(self._unsent)
        if wanted != self._listens_for_room:
            self._listens_for_room = wanted
            self._epoll.modify(self.fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def close(self) -> None:
        """Close the socket, which leaves the epoll by itself, and give back what the wire holds."""
        self.sock.close()
        if isinstance(self.wire, HoldingWire):
            self.wire.close()
