"""Pages: one row more is fetched than is shown, to know whether there are any after it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from api.shapes import Page

__all__ = ["page_of"]

T = TypeVar("T")


def page_of(found: Sequence[T], limit: int, name: Callable[[T], str]) -> Page[T]:
    """The first ``limit`` of what was found; the last one's name, if more follow."""
    shown = list(found[:limit])
    return Page(items=shown, next=name(shown[-1]) if len(found) > limit else None)
