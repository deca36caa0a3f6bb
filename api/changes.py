"""Every change goes through here: it is written down before it is done, and what became of it after."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from db.access import AccessStore
from nightbench.access import Actor, Outcome
from nightbench.errors import NightbenchError, UsageError

__all__ = ["Change", "change", "refusal_kept"]

_log = logging.getLogger("nightbench.api")


@dataclass(slots=True)
class Change:
    """One change that is being made."""

    detail: str = ""
    """What came of it, for the log."""


@contextmanager
def change(store: AccessStore, actor: Actor, action: str, what: Mapping[str, Any]) -> Iterator[Change]:
    """Keep on record what the block does. Where that cannot be written down beforehand, it is not done."""
    number = store.begin_change(actor, action, what, datetime.now(UTC))
    under_way = Change()
    try:
        yield under_way
    except UsageError as error:
        _settle(store, number, Outcome.REFUSED, str(error))
        raise
    except BaseException as error:
        _settle(store, number, Outcome.FAILED, f"{type(error).__name__}: {error}")
        raise
    _settle(store, number, Outcome.DONE, under_way.detail)


def _settle(store: AccessStore, number: int, outcome: Outcome, detail: str) -> None:
    try:
        store.settle_change(number, outcome, detail, datetime.now(UTC))
    except NightbenchError as error:
        # It has been done, and whoever asked must hear so; the row says "begun", which is all that is sure.
        _log.warning("audit entry %d: what became of it could not be kept: %s", number, error)


@contextmanager
def refusal_kept(store: AccessStore, actor: Actor, action: str, what: Mapping[str, Any]) -> Iterator[None]:
    """For a change whose own transaction keeps it on record: one that is refused is put there too."""
    try:
        yield
    except UsageError as error:
        store.refuse_change(actor, action, what, str(error), datetime.now(UTC))
        raise
