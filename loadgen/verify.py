"""Are the answers right? Some are kept while measuring and compared with the reference afterwards."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loadgen.job import Job
from loadgen.pool import Pool
from loadgen.protocols.base import Tensors
from nightbench.model import Tolerance
from nightbench.parity import Part, difference

__all__ = ["HELD_BYTES", "Keeper", "strays", "wrong_rows"]

HELD_BYTES = 150
"""What keeping an answer takes beside its own bytes: of tiny answers it is most."""
_KEPT_LIMIT_BYTES = 128 * 2**20


class Keeper:
    """Holds every ``every``-th answer, by row. ``every`` 0 holds none.

    Memory stays bounded without favouring the start of the run: whenever the kept answers grow too large, each
    second one is dropped and only half as many are taken from then on.
    """

    __slots__ = ("_bytes", "_every", "_limit_bytes", "_seen", "kept")

    def __init__(self, every: int, limit_bytes: int = _KEPT_LIMIT_BYTES) -> None:
        self.kept: list[tuple[int, Any]] = []
        self._every = every
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._seen = 0

    @classmethod
    def of(cls, job: Job) -> "Keeper":
        """As ``job`` asks. Where it names no outputs there is nothing to compare an answer with."""
        return cls(job.verify_every if job.outputs else 0)

    def wants_next(self) -> bool:
        """Count one good answer; whether it is one to `keep`. The first one is."""
        seen = self._seen
        self._seen = seen + 1
        return self._every > 0 and seen % self._every == 0

    def keep(self, row: int, answer: Any, size_bytes: int) -> None:
        self.kept.append((row, answer))
        self._bytes += size_bytes
        while self._bytes > self._limit_bytes and (held := len(self.kept)) > 1:
            del self.kept[1::2]
            # Answers of one cell are of one size.
            self._bytes = self._bytes * len(self.kept) // held
            self._every *= 2


def strays(got: Tensors, want: Tensors, tolerance: Tolerance, scales: Mapping[str, Sequence[Part]]) -> str | None:
    """How ``got`` strays from the reference, in words; ``None`` if every output passes for it.

    What passes is the business of `nightbench.parity`; ``scales`` are those of the whole pool.
    """
    for name, reference in want.items():
        answer = got.get(name)
        why = "is missing" if answer is None else difference(answer, reference, tolerance, scales[name])
        if why is not None:
            return f"output {name!r} {why}"
    return None


def wrong_rows(
    kept: Sequence[tuple[int, Any]],
    decode: Callable[[Any], Tensors],
    pool: Pool,
    starts: Sequence[int],
    batch: int,
    tolerance: Tolerance,
) -> list[tuple[int, str]]:
    """The kept rows whose answer is not the reference's, each with the difference in words.

    Row ``r`` carried the request that begins at item ``starts[r % len(starts)]``.
    """
    wrong: list[tuple[int, str]] = []
    scales = pool.scales()
    for row, answer in kept:
        want = pool.expected(starts[row % len(starts)], batch)
        try:
            why = strays(decode(answer), want, tolerance, scales)
        except ValueError as error:
            why = f"the answer cannot be read: {error}"
        if why is not None:
            wrong.append((row, why))
    return wrong
