"""Where outcomes go while measuring: plain integer arrays, made before the run or grown in big steps."""

from array import array

import numpy as np
from numpy.typing import NDArray

from nightbench.samples import Outcome, Samples

__all__ = ["Recorder"]

_STEP = 2**13
"""Rows added at once, which stops the engine for a tenth of a millisecond. More rows would stop it for longer."""
_PENDING = 255


class Recorder:
    """One row a request, columns as in `Samples`. The engine writes cells of the columns directly."""

    __slots__ = ("done_ns", "first_byte_ns", "intended_ns", "outcome", "response_bytes", "rows", "sent_ns")

    def __init__(self) -> None:
        self.rows = 0
        self.intended_ns = array("q")
        self.sent_ns = array("q")
        self.first_byte_ns = array("q")
        self.done_ns = array("q")
        self.response_bytes = array("q")
        self.outcome = array("B")
        self._grow(_STEP)

    @classmethod
    def scheduled(cls, due_ns: NDArray[np.int64]) -> "Recorder":
        """All rows at once, due at these times in this order."""
        recorder = cls()
        recorder._grow(max(0, len(due_ns) - _STEP))
        recorder.intended_ns[: len(due_ns)] = array("q", due_ns.astype(np.int64).tobytes())
        recorder.rows = len(due_ns)
        return recorder

    def take(self, intended_ns: int) -> int:
        """A new row for a request intended now."""
        row = self.rows
        if row == len(self.outcome):
            self._grow(_STEP)
        self.intended_ns[row] = intended_ns
        self.rows = row + 1
        return row

    def _grow(self, rows: int) -> None:
        zeros = bytes(8 * rows)
        for column in (
            self.intended_ns,
            self.sent_ns,
            self.first_byte_ns,
            self.done_ns,
            self.response_bytes,
        ):
            column.frombytes(zeros)
        self.outcome.frombytes(bytes((_PENDING,)) * rows)

    def samples(self, ended_ns: int) -> Samples:
        """The rows taken so far; what has no outcome yet is UNFINISHED at ``ended_ns``."""
        rows = self.rows
        outcome = np.frombuffer(self.outcome, np.uint8)[:rows].copy()
        done = np.frombuffer(self.done_ns, np.int64)[:rows].copy()
        pending = outcome == _PENDING
        outcome[pending] = Outcome.UNFINISHED
        done[pending] = ended_ns
        return Samples(
            intended_ns=np.frombuffer(self.intended_ns, np.int64)[:rows],
            sent_ns=np.frombuffer(self.sent_ns, np.int64)[:rows],
            first_byte_ns=np.frombuffer(self.first_byte_ns, np.int64)[:rows],
            done_ns=done,
            outcome=outcome,
            response_bytes=np.frombuffer(self.response_bytes, np.int64)[:rows],
        )
