"""Who may come in: keys, roles, and how often. All of it before a request's body is read."""

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import Any

from fastapi import Request, Response, Security
from fastapi.routing import APIRoute, APIRouter
from fastapi.security import HTTPBearer
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.key_memory import KeyMemory
from api.services import Limits, Services
from db.errors import DatabaseDown
from nightbench.access import Actor, ApiKey, Role

__all__ = ["Gate", "actor_of", "caller", "guarded", "services_of"]

_HOW = "send 'Authorization: Bearer KEY' with a key of `nightbench api-keys add`"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="nightbench"'}
_bearer = HTTPBearer(auto_error=False, description="A key as `nightbench api-keys add` shows it once.")


@dataclass(frozen=True, slots=True)
class _Counted:
    """One limit."""

    item: RateLimitItem
    what: str


class Gate:
    """Counts requests in this process's memory: one `nightbench api` is one process."""

    def __init__(self, limits: Limits) -> None:
        self._counts = MovingWindowRateLimiter(MemoryStorage())
        self._of_key = _Counted(parse(limits.of_key), "key")
        self._of_address = _Counted(parse(limits.of_address), "address")
        self._wrong_keys = _Counted(parse(limits.wrong_keys), "wrong-keys")

    def admit_address(self, address: str) -> None:
        """Count a request; `HTTPException` 429 where it is one too many."""
        self._count(self._of_address, _host(address), "from your address")

    def admit_key(self, key: ApiKey) -> None:
        self._count(self._of_key, key.key_id, "with this key")

    def count_wrong_key(self, address: str) -> None:
        """Nobody finds a key by guessing; but each new guess asks the database, once (`api.key_memory`), and no more
        often than an address may ask at all. Keys not seen before are not refused unasked: one caller with wrong ones
        would lock out all that share its address."""
        self._count(self._wrong_keys, _host(address), "with wrong keys from your address")

    def _count(self, limit: _Counted, who: str, of_what: str) -> None:
        if self._counts.hit(limit.item, limit.what, who):
            return
        until = self._counts.get_window_stats(limit.item, limit.what, who).reset_time
        wait_s = max(1, ceil(until - time.time()))
        detail = f"too many requests {of_what}: {limit.item} are let through; ask again in {wait_s} s"
        raise HTTPException(429, detail, {"Retry-After": str(wait_s)})


def _host(address: str) -> str:
    """What is counted as one: an IPv4 address, or an IPv6 host's own network."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return str(ip_network((known, 64), strict=False))
    return str(getattr(known, "ipv4_mapped", None) or known)


def services_of(request: Request) -> Services:
    """What this app works on."""
    services: Services = request.app.state.services
    return services


def caller(request: Request) -> ApiKey:
    """Whose key let this request in."""
    key: ApiKey = request.state.key
    return key


def actor_of(request: Request) -> Actor:
    """The caller as the audit log names it."""
    key = caller(request)
    return Actor(key.name, key.key_id, address_of(request))


def address_of(request: Request) -> str:
    """The peer of the connection. What headers claim, a proxy's or anybody's, is not believed."""
    return request.client.host if request.client else ""


def guarded(role: Role, prefix: str = "/api/v1", *, in_outages: bool = False) -> APIRouter:
    """A router of operations for keys of this role, and of those above it.

    ``in_outages``: also where the database does not answer, for keys that it knew when it last did. What tells people
    that it is away must not go away with it.
    """

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def admitted(request: Request) -> Response:
                request.state.key = await run_in_threadpool(partial(_admit, request, role, in_outages))
                return await handler(request)

            return admitted

    # Described in the OpenAPI document by this; decided in `_admit`.
    return APIRouter(prefix=prefix, route_class=Guarded, dependencies=[Security(_bearer)])


def _admit(request: Request, role: Role, in_outages: bool) -> ApiKey:
    services, gate = services_of(request), request.app.state.gate
    address = address_of(request)
    given = request.headers.getlist("authorization")
    scheme, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    key = _find(request, secret.strip(), in_outages) if scheme.lower() == "bearer" else None
    if key is None:
        if given:
            gate.count_wrong_key(address)
        raise HTTPException(401, f"{'this key opens nothing' if given else 'a key is missing'}; {_HOW}", _CHALLENGE)
    gate.admit_key(key)
    if not key.role.covers(role):
        detail = f"this needs the role {role}, and the key {key.name!r} has {key.role}; use another key"
        if request.method not in {"GET", "HEAD"}:
            what = {"path": request.url.path}
            actor = Actor(key.name, key.key_id, address)
            services.store.refuse_change(
                actor, f"{request.method} {_template(request)}", what, detail, datetime.now(UTC)
            )
        raise HTTPException(403, detail)
    return key


def _find(request: Request, secret: str, in_outages: bool) -> ApiKey | None:
    memory: KeyMemory = request.app.state.keys
    if memory.is_wrong(secret):
        return None
    try:
        key = services_of(request).store.find_key(secret, datetime.now(UTC))
    except DatabaseDown:
        if in_outages and (known := memory.good(secret)):
            return known
        raise
    memory.found(secret, key)
    return key


def _template(request: Request) -> str:
    route = request.scope.get("route")
    return str(getattr(route, "path", request.url.path))
