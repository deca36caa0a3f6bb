"""One thread, one epoll: receive, ask the protocol what to answer, send."""

import select
import socket
import sys
from collections.abc import Callable

from loadgen.null.side import Nonsense, Side

__all__ = ["serve"]

_RECEIVE_BYTES = 16 * 1024
_BIN = bytearray(2**20)
"""Where skipped bytes would go; with MSG_TRUNC the kernel drops them instead (tcp(7)), so it is never touched."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class _Gone(Exception):
    """The peer closed the connection."""


class _Connection:
    __slots__ = ("_epoll", "_recv", "_send", "_side", "_unsent", "sock")

    def __init__(self, sock: socket.socket, side: Side, epoll: select.epoll) -> None:
        self.sock = sock
        self._side = side
        self._epoll = epoll
        self._unsent = bytearray()
        # Looked up once: both are called for every request.
        self._recv = sock.recv
        self._send = sock.send

    def handle(self, events: int) -> None:
        """Do what an epoll says can be done; `OSError`, `Nonsense` or `_Gone` when it was the last time."""
        if events & _OUT:
            self._drain()
            if events == _OUT:
                return
        side = self._side
        if side.skip:
            side.skip -= self._dropped(min(side.skip, len(_BIN)))
            if side.skip:
                return
            data = b""
        else:
            data = self._recv(_RECEIVE_BYTES)
            if not data:
                raise _Gone
        for piece in side.feed(data):
            self._put(piece)

    def _dropped(self, most: int) -> int:
        count = self.sock.recv_into(_BIN, most, socket.MSG_TRUNC)
        if not count:
            raise _Gone
        return count

    def _put(self, piece: bytes) -> None:
        """Send now, or keep what the kernel does not take."""
        if self._unsent:
            self._unsent += piece
            return
        try:
            sent = self._send(piece)
        except BlockingIOError:
            sent = 0
        if sent < len(piece):
            self._unsent += piece[sent:]
            self._epoll.modify(self.sock.fileno(), _IN | _OUT)

    def _drain(self) -> None:
        try:
            del self._unsent[: self._send(self._unsent)]
        except BlockingIOError:
            return
        if not self._unsent:
            self._epoll.modify(self.sock.fileno(), _IN)


def serve(listener: socket.socket, side: Callable[[], Side], on_control: Callable[[], bool]) -> None:
    """Serve every connection to ``listener`` until ``on_control``, asked whenever standard input has news, is false."""
    listener.setblocking(False)
    control = sys.stdin.fileno()
    connections: dict[int, _Connection] = {}
    with select.epoll() as epoll:
        epoll.register(listener.fileno(), _IN)
        epoll.register(control, _IN)
        while True:
            for fd, events in epoll.poll():
                connection = connections.get(fd)
                if connection is not None:
                    try:
                        connection.handle(events)
                    except BlockingIOError:
                        continue
                    except (OSError, Nonsense, _Gone):
                        del connections[fd]
                        connection.sock.close()
                elif fd == control:
                    if not on_control():
                        return
                else:
                    try:
                        sock, _ = listener.accept()
                    except OSError:
                        continue
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connections[sock.fileno()] = _Connection(sock, side(), epoll)
                    epoll.register(sock.fileno(), _IN)
