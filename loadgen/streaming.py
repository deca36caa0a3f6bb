"""Traffic whose answers come in parts, each of them timed."""

from typing import Any, cast

from loadgen.clock import now_ns
from loadgen.connection import Connection
from loadgen.traffic import RECEIVE_BYTES, Traffic
from loadgen.wire.base import StreamingWire
from nightbench.samples import Outcome

__all__ = ["StreamingTraffic"]


class StreamingTraffic(Traffic):
    """As `Traffic`, over wires that are `StreamingWire`.

    It receives by a method of its own: what is not streamed must not pay for this.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._recorder.streams()

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
        recorder = self._recorder
        wire = cast("StreamingWire", connection.wire)
        if data:
            connection.received += len(data)
            reply = wire.feed(data)
            if wire.answering and not self._first_byte_ns[row]:
                self._first_byte_ns[row] = now
            if wire.parts:
                recorder.mark(row, now, wire.parts)
        else:
            reply = wire.end()
        if reply is not None:
            recorder.tokens[row] = wire.tokens + 1
            outcome, body, detail = reply
            self._finish(connection, outcome, body, detail, now, broken=not data)
            if connection.row >= 0:
                return
        if self._alive(connection):
            self._flush(connection)
