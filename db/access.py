"""Keys of the HTTP API in the database, and the log of what was changed with them."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from db.access_tables import api_audit, api_keys
from db.database import Database
from db.rows import plain, plain_json
from nightbench.access import (
    Actor,
    ApiKey,
    AuditEntry,
    Conflict,
    NotFound,
    Outcome,
    Role,
    check_name,
    digest,
    looks_like_key,
    new_key,
)

__all__ = ["AccessStore"]

_NOTED_EVERY = timedelta(minutes=1)
"""A key in use is a write a minute and not one a request."""
_KEY_FIELDS = [column for column in api_keys.c if column is not api_keys.c.sha256]


class AccessStore(Database):
    """Each method is one transaction, like all of the store's: a key is never made or taken without its audit row."""

    def add_key(self, name: str, role: Role, actor: Actor, now: datetime) -> tuple[ApiKey, str]:
        """Make a key; it, and the secret that is shown this once. `Conflict` where a key that works has this name."""
        check_name(name)
        key_id, secret = new_key()
        made = ApiKey(key_id, name, role, now, actor.who)
        row = {"key_id": key_id, "name": name, "role": role, "created_at": now, "created_by": plain(actor.who)}
        with self._transaction() as connection:
            unless_live = insert_unless(api_keys).on_conflict_do_nothing(
                index_elements=[api_keys.c.name], index_where=api_keys.c.revoked_at.is_(None)
            )
            statement = unless_live.values(**row, sha256=digest(secret)).returning(api_keys.c.key_id)
            if connection.execute(statement).first() is None:
                raise Conflict(f"name: a key {name!r} works already; revoke that one, or choose another name")
            what = {"key_id": key_id, "name": name, "role": role.value}
            _write(connection, actor, "key.add", what, Outcome.DONE, "", now)
        return made, secret

    def revoke_key(self, key_id: str, actor: Actor, now: datetime) -> ApiKey:
        """Let a key open nothing from now on. Raises `NotFound`, or `Conflict` where it has been revoked before."""
        revoked = update(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        with self._transaction() as connection:
            values = {"revoked_at": now, "revoked_by": plain(actor.who)}
            row = connection.execute(revoked.values(**values).returning(*_KEY_FIELDS)).one_or_none()
            if row is None:
                if connection.execute(_keys().where(api_keys.c.key_id == key_id)).first() is None:
                    raise NotFound(f"key {key_id!r}: there is none of this id; the list of keys has their ids")
                raise Conflict(f"key {key_id!r}: it was revoked before")
            what = {"key_id": key_id, "name": row.name, "role": row.role}
            _write(connection, actor, "key.revoke", what, Outcome.DONE, "", now)
        return _key(row)

    def list_keys(self, limit: int = 1000, after: str | None = None) -> list[ApiKey]:
        """The newest first, revoked ones among them; those ``after`` a key in that order, or `NotFound`."""
        query = _keys().order_by(api_keys.c.created_at.desc(), api_keys.c.key_id.desc()).limit(limit)
        with self._transaction() as connection:
            if after is not None:
                last = connection.execute(_keys().where(api_keys.c.key_id == after)).one_or_none()
                if last is None:
                    raise NotFound(f"after: there is no key {after!r}; give the last id of the page before")
                place = (api_keys.c.created_at < last.created_at) | (
                    (api_keys.c.created_at == last.created_at) & (api_keys.c.key_id < last.key_id)
                )
                query = query.where(place)
            return [_key(row) for row in connection.execute(query)]

    def find_key(self, secret: str, now: datetime) -> ApiKey | None:
        """The key that works; ``None`` for anything else."""
        if not looks_like_key(secret):
            return None
        # Looked up by its hash: how long that takes tells nothing of the key.
        query = _keys().where(api_keys.c.sha256 == digest(secret), api_keys.c.revoked_at.is_(None))
        with self._transaction() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            if row.last_used_at is None or row.last_used_at < now - _NOTED_EVERY:
                used = update(api_keys).where(api_keys.c.key_id == row.key_id).values(last_used_at=now)
                connection.execute(used)
            return _key(row)

    def begin_change(self, actor: Actor, action: str, what: Mapping[str, Any], now: datetime) -> int:
        """Write down, before anything is done, that it will be; the number to `settle_change` by."""
        with self._transaction() as connection:
            return _write(connection, actor, action, what, Outcome.BEGUN, "", now)

    def settle_change(self, number: int, outcome: Outcome, detail: str, now: datetime) -> None:
        """Write down what became of it."""
        here = update(api_audit).where(api_audit.c.number == number)
        with self._transaction() as connection:
            connection.execute(here.values(outcome=outcome, detail=plain(detail), settled_at=now))

    def refuse_change(self, actor: Actor, action: str, what: Mapping[str, Any], detail: str, now: datetime) -> None:
        """Write down what was asked for and not done."""
        with self._transaction() as connection:
            _write(connection, actor, action, what, Outcome.REFUSED, detail, now)

    def audit(self, limit: int, before: int | None = None) -> list[AuditEntry]:
        """The newest first; those ``before`` a number, if it is given."""
        query = select(api_audit).order_by(api_audit.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(api_audit.c.number < before)
        with self._transaction() as connection:
            return [_entry(row) for row in connection.execute(query)]


def _write(
    connection: Connection,
    actor: Actor,
    action: str,
    what: Mapping[str, Any],
    outcome: Outcome,
    detail: str,
    now: datetime,
) -> int:
    row = {
        "at": now,
        "who": plain(actor.who),
        "key_id": actor.key_id,
        "address": plain(actor.address),
        "action": action,
        "what": plain_json(json.dumps(dict(what)).encode()),
        "outcome": outcome,
        "detail": plain(detail),
        "settled_at": None if outcome is Outcome.BEGUN else now,
    }
    return int(connection.execute(insert(api_audit).values(**row).returning(api_audit.c.number)).scalar_one())


def _keys() -> Select[Any]:
    return select(*_KEY_FIELDS)


def _key(row: Row[Any]) -> ApiKey:
    fields = dict(row._mapping)
    return ApiKey(**{**fields, "role": Role(fields["role"])})


def _entry(row: Row[Any]) -> AuditEntry:
    fields = dict(row._mapping)
    return AuditEntry(**{**fields, "outcome": Outcome(fields["outcome"])})
