"""A search, driven: try a load, tell the rule how it went, until the rule has an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from nightbench.figures import SearchFigures, SearchStep
from nightbench.load import Search, Step
from nightbench.search import propose

__all__ = ["Sought", "seek"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sought(Generic[T]):
    """What was found, and what was made of each load on the way."""

    figures: SearchFigures
    attempts: tuple[T, ...]

    @property
    def chosen(self) -> T:
        return self.attempts[self.figures.chosen]


def seek(search: Search, attempt: Callable[[Step], T], told: Callable[[T], SearchStep]) -> Sought[T]:
    """Call ``attempt`` with one load after the other; ``told`` says what the rule may know of each.

    An exception of ``attempt`` ends the search.
    """
    steps: list[SearchStep] = []
    attempts: list[T] = []
    while not isinstance(proposed := propose(search, steps), SearchFigures):
        attempts.append(attempt(proposed))
        steps.append(told(attempts[-1]))
    return Sought(proposed, tuple(attempts))
