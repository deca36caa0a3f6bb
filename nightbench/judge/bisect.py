"""Which of the things that changed makes the difference: delta debugging over factors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Found", "Oracle", "minimal"]

Oracle = Callable[[frozenset[str]], bool | None]
"""Whether last-good with these factors as tonight is as slow as tonight; ``None``: it cannot be told."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a bisection ended."""

    culprits: tuple[str, ...]
    """The smallest slow set found, in the order the factors were given; empty where not even all of them are slow."""
    tests: int
    """Mixtures that were deployed, each once."""
    unsure: tuple[frozenset[str], ...]
    """Mixtures that could not be told."""

    @property
    def certain(self) -> bool:
        """Whether no smaller set within it may be enough: nothing that could not be told was passed over."""
        return not any(each < frozenset(self.culprits) for each in self.unsure)


def minimal(factors: Sequence[str], bad: Oracle, spent: Callable[[], bool] = lambda: False) -> Found:
    """The smallest set of ``factors`` found that ``bad`` says yes to, by delta debugging.

    That is ``ddmin`` of Zeller & Hildebrandt ("Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28, 2002),
    with their *unresolved* for ``None``: the whole is halved, then quartered and so on; a slow part replaces the whole,
    or else a slow rest does. One culprit among n factors takes about 2 log2 n tests, and none of the culprits can be
    left out of what is found, as far as all could be told (1-minimal). Each mixture is tested once. The empty mixture
    is last-good itself and is taken to be fast. Ends early, with what it has, once ``spent`` turns true.
    """
    known: dict[frozenset[str], bool | None] = {frozenset(): False}

    def test(chosen: Sequence[str]) -> bool | None:
        key = frozenset(chosen)
        if key not in known:
            known[key] = bad(key)
        return known[key]

    def ended(culprits: Sequence[str]) -> Found:
        return Found(tuple(culprits), len(known) - 1, tuple(each for each, slow in known.items() if slow is None))

    left = list(dict.fromkeys(factors))
    if not left or not test(left):
        return ended(())
    parts = 2
    while len(left) > 1 and not spent():
        chunks = _chunks(left, parts)
        rests = [[each for each in left if each not in chunk] for chunk in chunks]
        slow = next((chunk for chunk in chunks if not spent() and test(chunk)), None)
        if slow is not None:
            left, parts = slow, 2
            continue
        # Of two parts, each is the rest of the other.
        slow = next((rest for rest in rests if not spent() and test(rest)), None) if parts > 2 else None
        if slow is not None:
            left, parts = slow, max(parts - 1, 2)
        elif parts < len(left):
            parts = min(2 * parts, len(left))
        else:
            break
    return ended(left)


def _chunks(items: Sequence[str], parts: int) -> list[list[str]]:
    """``items`` in ``parts`` pieces, as equal as they come and none empty."""
    ends = [len(items) * number // parts for number in range(parts + 1)]
    return [list(items[start:end]) for start, end in pairwise(ends) if end > start]
