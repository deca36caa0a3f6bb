"""What the database said of keys, so that not every request asks it again."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from nightbench.access import ApiKey, digest

__all__ = ["KeyMemory"]

_WRONG_FOR_S = 60
"""A wrong key never becomes a right one, unless the database is put back from a backup or is another one."""
_MOST_WRONG = 4096
"""Digests, of 64 characters each: the oldest go first."""


class KeyMemory:
    """Threads may share it. Of the keys themselves only digests are kept."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._good: dict[str, ApiKey] = {}
        self._wrong: OrderedDict[str, float] = OrderedDict()
        self._alone = Lock()

    def good(self, secret: str) -> ApiKey | None:
        """The key as it was when the database last knew it."""
        return self._good.get(digest(secret))

    def is_wrong(self, secret: str) -> bool:
        """Whether the database was asked for this one lately, and knew of none."""
        with self._alone:
            since_s = self._wrong.get(digest(secret))
            return since_s is not None and self._now_s() - since_s < _WRONG_FOR_S

    def found(self, secret: str, key: ApiKey | None) -> None:
        """Remember what the database said."""
        name = digest(secret)
        with self._alone:
            if key is not None:
                self._good[name] = key
                self._wrong.pop(name, None)
                return
            self._good.pop(name, None)
            self._wrong.pop(name, None)
            self._wrong[name] = self._now_s()
            while len(self._wrong) > _MOST_WRONG:
                self._wrong.popitem(last=False)
