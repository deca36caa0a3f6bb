"""What became of a notification that raised: whether it surely did not arrive, or nobody can say.

Only what surely did not arrive may be sent again. No text of a library is repeated here, for addresses with tokens in
them are in most: an error is told by its kind and by the status that the receiver answered with.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import urllib3.exceptions
from prefect.blocks.abstract import NotificationError

__all__ = ["AppriseWitness", "Undelivered", "certainly_not", "quiet_libraries"]


class Undelivered(Exception):
    """A notification that did not arrive (``certain``), or of which that is not known."""

    def __init__(self, what: str, *, certain: bool) -> None:
        super().__init__(what)
        self.certain = certain


_NOT_BEGUN = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)
"""httpx raises these before a request is on its way."""

_NEVER_CONNECTED = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.LocationParseError,
)


def certainly_not(error: BaseException, witness: "AppriseWitness") -> Undelivered:
    """``error`` of a block's ``notify`` as an `Undelivered`."""
    if isinstance(error, Undelivered):
        return error
    if isinstance(error, httpx.HTTPStatusError):
        return _answered(error.response.status_code)
    if isinstance(error, NotificationError):
        return witness.undelivered()
    certain = isinstance(error, _NOT_BEGUN)
    return Undelivered(f"{'not' if certain else 'perhaps'} sent ({type(error).__name__})", certain=certain)


def _answered(status: int) -> Undelivered:
    """A receiver that refuses has not taken the message; a gateway that lost its own upstream cannot know, nor can we
    where it was taken with an answer that the library did not expect (RFC 9110, 15.6.3 and 15.6.5)."""
    return Undelivered(f"answered with status {status}", certain=status >= 300 and status not in {502, 504})


class AppriseWitness(logging.Handler):
    """Learns why Apprise failed.

    Apprise tells its caller no more than that it did; why is in a log record, written while the exception is being
    handled, so it can be seen from there. With the exception's type rather than the record's text in hand, "refused
    the connection" and "accepted it and fell silent" can be told apart for every service that Apprise knows.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._errors: list[BaseException] = []
        self._statuses: list[int] = []
        self._heard = False

    def emit(self, record: logging.LogRecord) -> None:
        self._heard = True
        error = sys.exc_info()[1]
        if error is not None:
            self._errors.append(error)
        else:
            self._statuses += [int(found) for found in re.findall(r"\berror=(\d{3})\b", record.getMessage())]

    def undelivered(self) -> Undelivered:
        if self._errors:
            certain = all(map(_never_connected, self._errors))
            kinds = ", ".join(dict.fromkeys(type(error).__name__ for error in self._errors))
            return Undelivered(f"{'not' if certain else 'perhaps'} sent ({kinds})", certain=certain)
        if self._statuses:
            # Several where one message was cut into pieces: unless all were refused, some arrived.
            return min(map(_answered, self._statuses), key=lambda each: each.certain)
        if self._heard:
            return Undelivered("refused before it was sent", certain=True)
        return Undelivered("failed without a reason", certain=False)


def _never_connected(error: BaseException) -> bool:
    """requests wraps what urllib3 raised, which says whether there ever was a connection."""
    cause = error.args[0] if error.args else None
    if isinstance(cause, urllib3.exceptions.MaxRetryError):
        cause = cause.reason
    return isinstance(cause, _NEVER_CONNECTED)


_LIBRARIES = ("apprise", "httpcore", "httpx", "requests", "urllib3")


@contextmanager
def quiet_libraries(witness: AppriseWitness) -> Iterator[None]:
    """While these send, their logs go to ``witness`` alone: at lower levels they hold addresses, tokens included."""
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
        logger.propagate = False
    apprise = loggers[0]
    apprise.addHandler(witness)
    try:
        yield
    finally:
        apprise.removeHandler(witness)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
