"""Who may do what over the HTTP API: roles, keys, and what is kept of every change.

A key is 256 bits from the operating system's random source. At rest there is its SHA-256 alone. A slow, salted hash
guards passwords, which people choose and machines can try one by one; of 2^256 keys none is ever found by trying, so
that a fast hash gives nothing away (NIST SP 800-63B, 5.1.2.2, asks for no more from 112 bits on), and a server that is
asked with wrong keys is not kept busy by them.
"""

import getpass
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from nightbench.errors import UsageError

__all__ = [
    "NAME",
    "Actor",
    "ApiKey",
    "AuditEntry",
    "Conflict",
    "Forbidden",
    "NotFound",
    "Outcome",
    "Role",
    "check_name",
    "digest",
    "looks_like_key",
    "new_key",
]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a key may be called."""
_KEY = re.compile(r"nb_[0-9a-f]{10}_[A-Za-z0-9_-]{43}")
_RANDOM_BYTES = 32


class NotFound(UsageError):
    """What was named does not exist."""


class Conflict(UsageError):
    """It stands against what is there already."""


class Forbidden(UsageError):
    """It takes another role."""


class Role(StrEnum):
    """Each may do what those before it may."""

    VIEWER = "viewer"
    """Reads."""
    OPERATOR = "operator"
    """Starts runs, and asks running servers."""
    ADMIN = "admin"
    """Gives and takes keys, and reads the audit log."""

    def covers(self, needed: "Role") -> bool:
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


class Outcome(StrEnum):
    """What became of a change."""

    BEGUN = "begun"
    """Not known: it is under way, or what was doing it died."""
    DONE = "done"
    REFUSED = "refused"
    """Nothing was done."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change, and from where."""

    who: str
    """The key's name, or a user of this machine."""
    key_id: str | None = None
    """``None`` on the command line, where the database's own password is the key."""
    address: str = ""

    @classmethod
    def here(cls) -> "Actor":
        """The user of this machine who runs this process."""
        try:
            return cls(getpass.getuser())
        except (KeyError, OSError):  # a container's user need not have a name
            return cls(f"uid {os.getuid()}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """All that is kept of a key but its hash."""

    key_id: str
    name: str
    role: Role
    created_at: datetime
    created_by: str
    last_used_at: datetime | None = None
    """To the minute."""
    revoked_at: datetime | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: who asked when for what, and what came of it."""

    number: int
    at: datetime
    who: str
    key_id: str | None
    address: str
    action: str
    what: Mapping[str, Any]
    outcome: Outcome
    detail: str
    settled_at: datetime | None


def new_key() -> tuple[str, str]:
    """The public id of a new key, and the key itself, which holds it: a leaked key can be named and revoked."""
    key_id = secrets.token_hex(5)
    return key_id, f"nb_{key_id}_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def digest(key: str) -> str:
    """What is kept of a key."""
    return sha256(key.encode()).hexdigest()


def looks_like_key(text: str) -> bool:
    """Whether it is worth asking the database."""
    return _KEY.fullmatch(text) is not None


def check_name(name: str) -> str:
    """``name``; `UsageError` if a key cannot be called so."""
    if not re.fullmatch(NAME.strip("^$"), name):
        raise UsageError(f"name: {name!r} is wrong; use 1 to 64 letters, digits, '.', '_' and '-'")
    return name
