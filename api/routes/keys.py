"""Keys and the audit log: for admins."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query

from api.asked import AuditQuery, KeyAsked, KeyId, KeyQuery
from api.changes import refusal_kept
from api.guard import actor_of, guarded, services_of
from api.paging import page_of
from api.problems import problems
from api.services import Services
from api.shapes import KeyMade, Page
from nightbench.access import Actor, ApiKey, AuditEntry, Conflict, Role

__all__ = ["router"]

router = guarded(Role.ADMIN)
_Services = Annotated[Services, Depends(services_of)]
_Actor = Annotated[Actor, Depends(actor_of)]


@router.get("/keys", tags=["access"], responses=problems(404))
def keys(asked: Annotated[KeyQuery, Query()], services: _Services) -> Page[ApiKey]:
    """The keys, newest first, revoked ones among them."""
    found = services.store.list_keys(asked.limit + 1, asked.after)
    return page_of(found, asked.limit, lambda key: key.key_id)


@router.post("/keys", status_code=201, tags=["access"], responses=problems(409, 413))
def add_key(asked: KeyAsked, services: _Services, actor: _Actor) -> KeyMade:
    """Make a key. Its secret is in this answer and nowhere else."""
    what = {"name": asked.name, "role": asked.role.value}
    with refusal_kept(services.store, actor, "key.add", what):
        key, secret = services.store.add_key(asked.name, asked.role, actor, datetime.now(UTC))
    return KeyMade(key, secret)


@router.delete("/keys/{key_id}", tags=["access"], responses=problems(404, 409))
def revoke_key(key_id: KeyId, services: _Services, actor: _Actor) -> ApiKey:
    """Let a key open nothing from now on. No key revokes itself: an admin must be left."""
    with refusal_kept(services.store, actor, "key.revoke", {"key_id": key_id}):
        if key_id == actor.key_id:
            raise Conflict("key_id: this is the key you ask with; use another admin's, or `nightbench api-keys revoke`")
        return services.store.revoke_key(key_id, actor, datetime.now(UTC))


@router.get("/audit", tags=["access"], responses=problems())
def audit(asked: Annotated[AuditQuery, Query()], services: _Services) -> Page[AuditEntry]:
    """Every change: who asked for what, when, from where, and what came of it. Newest first."""
    found = services.store.audit(asked.limit + 1, asked.after)
    return page_of(found, asked.limit, lambda entry: str(entry.number))
