"""`nightbench api-keys`: who may use `nightbench api`."""

from datetime import UTC, datetime
from typing import Literal

from rich.console import Console

from db.access import AccessStore
from db.connect import database_url
from db.migrate import migrate
from flows.console import open_console, table
from nightbench.access import Actor, ApiKey, Role
from nightbench.errors import UsageError
from nightbench.settings import Settings

__all__ = ["api_keys"]


def api_keys(
    action: Literal["list", "add", "revoke"] = "list", name: str | None = None, /, *, role: Role | None = None
) -> None:
    """List the keys of the HTTP API, make one, or revoke one.

    Parameters
    ----------
    action
        `list`; `add` a key, which is printed this once; `revoke` one, which opens nothing from then on.
    name
        With `add`: what the key is called. With `revoke`: its name or id.
    role
        With `add`: viewer reads, operator also starts runs and asks servers, admin also gives and takes keys.
    """
    if role is not None and action != "add":
        raise UsageError(f"--role: does not go with {action}; leave it out")
    if (name is None) != (action == "list"):
        raise UsageError(f"{action}: {'lists all keys; leave the name out' if name else 'which key? write its name'}")
    settings, console = Settings.from_environment(), open_console()
    url = database_url(settings)
    migrate(url)
    with AccessStore(url) as store:
        if name is None:
            rows = [_row(key) for key in store.list_keys()]
            console.print(table("keys", rows) if rows else "no key yet; `nightbench api-keys add NAME --role admin`")
        elif action == "add":
            key, secret = store.add_key(name, role or Role.VIEWER, Actor.here(), datetime.now(UTC))
            # Apart from the key itself, which may go to a file.
            note = Console(stderr=True, highlight=False)
            note.print(f"{key.role} key {key.name!r}, id {key.key_id}. It is shown this once:", markup=False)
            print(secret)
        else:
            key = store.revoke_key(_id_of(store, name), Actor.here(), datetime.now(UTC))
            console.print(f"key {key.name!r}, id {key.key_id}, opens nothing any more", markup=False)


def _id_of(store: AccessStore, name: str) -> str:
    """The id of the key that works and has this name; else the name is an id."""
    live = (key.key_id for key in store.list_keys() if key.revoked_at is None and key.name == name)
    return next(live, name)


def _row(key: ApiKey) -> dict[str, str]:
    return {
        "id": key.key_id,
        "name": key.name,
        "role": key.role,
        "made": f"{key.created_at.astimezone():%Y-%m-%d %H:%M} by {key.created_by}",
        "last used": f"{key.last_used_at.astimezone():%Y-%m-%d %H:%M}" if key.last_used_at else "never",
        "revoked": f"{key.revoked_at.astimezone():%Y-%m-%d %H:%M} by {key.revoked_by}" if key.revoked_at else "",
    }
