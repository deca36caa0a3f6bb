"""Requests in flight: sends them, notes how each one ended, and keeps the connections they travel on.

What to send when is decided by `loadgen.loops`; this is shared by every kind of load.
"""

import errno
import select
from collections.abc import Callable, Sequence
from typing import Any

from loadgen.clock import Poller, now_ns
from loadgen.connection import Address, Connection
from loadgen.protocols.base import Codec
from loadgen.recorder import Recorder
from loadgen.verify import HELD_BYTES, Keeper
from nightbench.samples import Outcome

__all__ = ["RECEIVE_BYTES", "Traffic"]

RECEIVE_BYTES = 64 * 1024
_READABLE: int = select.EPOLLIN
_OK = Outcome.OK
"""An enum's member costs a look-up of its own, and this one is needed for every request."""
_NO_ROOM = frozenset({errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC})
"""What this machine lacks where a connection cannot be opened: the server never heard of it."""


class Traffic:
    """Up to ``limit`` connections to one address. Row ``r`` sends ``requests[r % len(requests)]``.

    ``on_end`` is called after every outcome with it and the time; it may start another request at once.
    """

    def __init__(
        self,
        address: Address,
        codec: Codec,
        requests: Sequence[Any],
        recorder: Recorder,
        keeper: Keeper,
        limit: int,
        timeout_ns: int,
    ) -> None:
        self.poller = Poller()
        self.on_end: Callable[[Outcome, int], None] = lambda _outcome, _now_ns: None
        self.in_flight = 0
        self.next_expiry_ns = now_ns() + timeout_ns
        """No request in flight times out before this."""
        self.detail = ""
        """The first failure in words."""
        self._address = address
        self._codec = codec
        self._requests = requests
        self._recorder = recorder
        self._sent_ns = recorder.sent_ns
        self._first_byte_ns = recorder.first_byte_ns
        self._done_ns = recorder.done_ns
        self._outcome = recorder.outcome
        self._response_bytes = recorder.response_bytes
        self._keeper = keeper
        self._wants_next = keeper.wants_next
        self._limit = limit
        self._timeout_ns = timeout_ns
        self._pool_size = len(requests)
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        """Used last in, first out: few connections stay warm rather than many lukewarm."""

    @property
    def has_room(self) -> bool:
        """Whether `start` finds a connection, or may open one."""
        return bool(self._idle) or len(self._connections) < self._limit

    def start(self, row: int, taken_ns: int) -> None:
        """Send the request of ``row`` now. Only while there is room."""
        self.in_flight += 1
        if self._idle:
            connection = self._idle.pop()
        else:
            try:
                connection = Connection(self._address, self._codec.wire(), self.poller.epoll)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._recorder.lacks_connections()
                self._ended(row, Outcome.REFUSED, 0, error.strerror or str(error), now_ns())
                return
            self._connections[connection.fd] = connection
        connection.row = row
        connection.taken_ns = taken_ns
        connection.received = 0
        if not connection.connecting:
            self._send(connection)

    def handle(self, events: Sequence[tuple[int, int]]) -> None:
        """Act on what the poller reported.

        A connection closes only while its own event is handled, so a descriptor that is used anew within the
        batch has no stale event left in it.
        """
        for fd, mask in events:
            connection = self._connections[fd]
            if connection.connecting:
                self._connected(connection)
            elif mask == _READABLE:
                self._receive(connection)
            else:
                if mask & select.EPOLLOUT:
                    self._flush(connection)
                if mask & ~select.EPOLLOUT and self._alive(connection):
                    self._receive(connection)

    def expire(self, now: int) -> None:
        """Give up what was sent a timeout ago."""
        late = [c for c in self._connections.values() if c.row >= 0 and c.taken_ns + self._timeout_ns <= now]
        for connection in late:
            self._finish(connection, Outcome.TIMEOUT, b"", "no answer in time", now, broken=True)
        waiting = [c.taken_ns for c in self._connections.values() if c.row >= 0]
        self.next_expiry_ns = min(waiting, default=now) + self._timeout_ns

    def close(self) -> None:
        """Drop every connection. Requests still in flight keep no outcome: `Recorder.settle` gives them one."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self.poller.close()

    def _send(self, connection: Connection) -> None:
        row = connection.row
        self._sent_ns[row] = connection.taken_ns
        connection.wire.begin(self._requests[row % self._pool_size])
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            connection.flush()
        except OSError as error:
            self._lost(connection, Outcome.RESET, error, now_ns())

    def _connected(self, connection: Connection) -> None:
        try:
            connection.connected()
        except OSError as error:
            self._lost(connection, Outcome.REFUSED, error, now_ns())
        else:
            self._send(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(connection, Outcome.RESET, error, now_ns())
            return
        now = now_ns()
        row = connection.row
        if row < 0:
            self._receive_idle(connection, data)
            return
        wire = connection.wire
        if not data:
            outcome, body, detail = wire.end()
            self._finish(connection, outcome, body, detail, now, broken=True)
            return
        connection.received += len(data)
        reply = wire.feed(data)
        if wire.answering and not self._first_byte_ns[row]:
            self._first_byte_ns[row] = now
        if reply is not None:
            outcome, body, detail = reply
            self._finish(connection, outcome, body, detail, now, broken=False)
            if connection.row >= 0:
                # The next request went out on it already, and with it whatever the wire owed.
                return
        # The wire may owe the peer an acknowledgement, whether a reply was complete or not.
        if self._alive(connection):
            self._flush(connection)

    def _receive_idle(self, connection: Connection, data: bytes) -> None:
        """A server may close a connection between requests, or keep house on it, without harm to any request."""
        if data:
            connection.wire.feed(data)
            self._flush(connection)
        if self._alive(connection) and not (data and connection.usable):
            self._idle.remove(connection)
            self._drop(connection)

    def _lost(self, connection: Connection, outcome: Outcome, error: OSError, now: int) -> None:
        if connection.row >= 0:
            detail = error.strerror or str(error)
            self._finish(connection, outcome, b"", detail, now, broken=True)
        else:
            self._idle.remove(connection)
            self._drop(connection)

    def _alive(self, connection: Connection) -> bool:
        return self._connections.get(connection.fd) is connection

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.fd]
        connection.close()

    def _finish(
        self, connection: Connection, outcome: Outcome, body: bytes, detail: str, now: int, *, broken: bool
    ) -> None:
        row = connection.row
        connection.row = -1
        if broken or not connection.usable:
            self._drop(connection)
        else:
            self._idle.append(connection)
        if outcome is _OK and self._wants_next():
            self._keeper.keep(row, body, len(body) + HELD_BYTES)
        self._ended(row, outcome, connection.received, detail, now)

    def _ended(self, row: int, outcome: Outcome, received: int, detail: str, now: int) -> None:
        self._outcome[row] = outcome
        self._response_bytes[row] = received
        # Last: whoever looks at the columns meanwhile takes it for a sign that the row is whole.
        self._done_ns[row] = now
        if outcome is not _OK and not self.detail:
            self.detail = f"{outcome.label}: {detail}"
        self.in_flight -= 1
        self.on_end(outcome, now)
