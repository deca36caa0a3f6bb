"""How a night tells what it is doing, without knowing who listens."""

from collections.abc import Iterable
from typing import Protocol

__all__ = ["Fanout", "Progress", "Silent"]


class Progress(Protocol):
    """A listener. Called from the thread that runs the night, never while a cell is being timed by it."""

    def begin(self, cells: int) -> None:
        """``cells`` are about to be worked through."""

    def doing(self, what: str) -> None:
        """What is going on now."""

    def done(self, cells: int) -> None:
        """``cells`` more are over: measured, or known to be missing."""

    def note(self, text: str) -> None:
        """Something worth keeping: a failed deployment, a rebuilt artifact."""


class Silent:
    """Listens to nothing."""

    def begin(self, cells: int) -> None: ...

    def doing(self, what: str) -> None: ...

    def done(self, cells: int) -> None: ...

    def note(self, text: str) -> None: ...


class Fanout:
    """Passes everything on to several listeners."""

    def __init__(self, listeners: Iterable[Progress]) -> None:
        self._listeners = tuple(listeners)

    def begin(self, cells: int) -> None:
        for listener in self._listeners:
            listener.begin(cells)

    def doing(self, what: str) -> None:
        for listener in self._listeners:
            listener.doing(what)

    def done(self, cells: int) -> None:
        for listener in self._listeners:
            listener.done(cells)

    def note(self, text: str) -> None:
        for listener in self._listeners:
            listener.note(text)
