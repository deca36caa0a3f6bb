"""What happens to every request, whatever it asks: counted, bounded, timed, and one line in the log."""

import logging
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.guard import Gate
from api.problems import problem
from api.request_metrics import RequestMetrics

__all__ = ["Entrance"]

_log = logging.getLogger("nightbench.api")
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Entrance:
    """The outermost of an app: ASGI middleware."""

    def __init__(self, app: ASGIApp, gate: Gate, metrics: RequestMetrics, body_bytes: int) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_ns, status = time.monotonic_ns(), 500

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        try:
            address = scope["client"][0] if scope.get("client") else ""
            self._gate.admit_address(address)
            await self._app(scope, self._bounded(scope, receive), answered)
        except HTTPException as refused:
            await problem(refused.status_code, refused.detail, refused.headers)(scope, receive, answered)
        finally:
            self._note(scope, status, time.monotonic_ns() - started_ns)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The body, up to so many bytes."""
        told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        too_long = HTTPException(
            413, f"body: it is longer than {self._body_bytes} bytes; send less", {"Connection": "close"}
        )
        if told.isdigit() and int(told) > self._body_bytes:
            raise too_long
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._body_bytes:
                raise too_long
            return message

        return counted

    def _note(self, scope: Scope, status: int, spent_ns: int) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.note(scope["method"], route, status, spent_ns)
        key: Any = scope.get("state", {}).get("key")
        client = scope["client"][0] if scope.get("client") else "-"
        # The path as it was sent, in ASCII and percent-encoded: nobody breaks a line of the log. No query, no header.
        path = scope.get("raw_path", b"").decode("ascii", "replace")
        _log.info("%s %s %d %.1f ms key=%s from %s", scope["method"], path, status, spent_ns / 1e6, _name(key), client)


def _name(key: Any) -> str:
    return key.key_id if key is not None else "-"
