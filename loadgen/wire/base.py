"""What the engine and the wire formats agree on: bytes in, bytes out, no sockets (sans-I/O).

One `Wire` is the client's side of one connection and carries one request at a time, as one of many clients would.
The engine owns the socket, the clock and the timeouts; the wire owns framing and nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from nightbench.samples import Outcome

__all__ = ["HoldingWire", "Reply", "StreamingWire", "Wire"]


class Reply(NamedTuple):
    """One whole answer, parsed just enough to be judged."""

    outcome: Outcome
    body: bytes
    """What the codec decodes; empty unless ``outcome`` is OK."""
    detail: str = ""
    """A failure in words: status line, gRPC message."""


class Wire(Protocol):
    """The framing of one connection. No method raises on hostile input: that is a PROTOCOL_ERROR reply."""

    def begin(self, request: Any) -> None:
        """Queue one prepared request. Only when no request is in flight and `reusable` is true."""

    def output(self) -> Sequence[bytes | memoryview]:
        """Take what must be sent now, connection preface included; empty when there is nothing."""

    def feed(self, data: bytes) -> Reply | None:
        """Take received bytes; the reply once it is whole. May make more output."""

    def end(self) -> Reply:
        """The peer closed the connection while a request was in flight."""

    @property
    def answering(self) -> bool:
        """Whether the answer to the last request began: any byte of it in HTTP/1, its first HEADERS in HTTP/2.

        What a peer says about the connection itself is no answer. It stays true until the next `begin`.
        """

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request after the last reply."""


class StreamingWire(Wire, Protocol):
    """A wire whose answers come in parts that are timed one by one."""

    parts: int
    """Parts with content, tokens as a rule, that the last `feed` completed. The engine reads it after every feed."""
    tokens: int
    """Output tokens of the last whole answer as the server counts them; -1 where it did not say."""


class HoldingWire(ABC):
    """The base of a wire that holds something for its connection beside memory."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """The connection is closed, with a request in flight or without one. Called once."""
