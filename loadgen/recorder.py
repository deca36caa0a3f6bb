"""Where outcomes go while measuring: columns in memory that the engine fills and its caller can read meanwhile.

The memory is an anonymous file (``memfd_create(2)``) that both processes map. It is sparse: the most rows that a cell
may have are reserved at once, a page exists once something is written to it, and nothing is ever copied or grown. All
bytes begin as zero, so nothing is initialised either: a row is without outcome while its ``done_ns`` is 0.
"""

import mmap
import os
from bisect import bisect_right
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from nightbench.load import EndedBy
from nightbench.samples import Marks, Outcome, Samples

__all__ = ["Phase", "Recorder", "Stop"]

_WORD_BYTES = 8
_ROW_COLUMNS = ("intended_ns", "sent_ns", "first_byte_ns", "done_ns", "response_bytes", "tokens")
_MARK_COLUMNS = ("mark_row", "mark_at_ns", "mark_parts")
_CAUSES = tuple(EndedBy)
_MARKS_KEPT = 4096
"""For answers that are in flight when the room for marks runs out."""


class Phase(IntEnum):
    """How far the engine is."""

    PREPARING = 0
    READY = 1
    """All that is missing is the time at which to start."""
    RUNNING = 2
    OVER = 3
    """Every request has ended; the answers are being checked."""


class _Word(IntEnum):
    """The header: 64-bit words at the beginning of the memory."""

    ROW_CAPACITY = 0
    MARK_CAPACITY = 1
    SHARE = 2
    SHARES = 3
    ROWS = 4
    MARKS = 5
    STREAMED = 6
    PHASE = 7
    START_NS = 8
    STARTED_NS = 9
    STOP_NS = 10
    STOP_CAUSE = 11
    CONNECTIONS_SHORT = 12


_ROWS = int(_Word.ROWS)
_MARKS = int(_Word.MARKS)
"""An enum's member costs a look-up of its own, and these are written for every request."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Sending shall end at this time, which may lie a little ahead, for this reason."""

    at_ns: int
    cause: EndedBy


class Recorder:
    """One row a request, columns as in `Samples`. The engine writes cells of the columns directly.

    Streamed answers leave marks as well, columns as in `nightbench.samples.Marks`.
    """

    __slots__ = (
        "_map",
        "_offsets",
        "_words",
        "done_ns",
        "fd",
        "first_byte_ns",
        "intended_ns",
        "mark_at_ns",
        "mark_capacity",
        "mark_parts",
        "mark_row",
        "outcome",
        "response_bytes",
        "row_capacity",
        "rows",
        "sent_ns",
        "tokens",
    )

    def __init__(self, fd: int) -> None:
        """Map what `create` made, in this process or in the one that started it."""
        self.fd = fd
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        self._words = memoryview(self._map)[: mmap.PAGESIZE].cast("q")
        self.row_capacity = self._words[_Word.ROW_CAPACITY]
        self.mark_capacity = self._words[_Word.MARK_CAPACITY]
        self.rows = self._words[_ROWS]
        self._offsets = _offsets(self.row_capacity, self.mark_capacity)
        self.intended_ns = self._cells("intended_ns", self.row_capacity)
        self.sent_ns = self._cells("sent_ns", self.row_capacity)
        self.first_byte_ns = self._cells("first_byte_ns", self.row_capacity)
        self.done_ns = self._cells("done_ns", self.row_capacity)
        self.response_bytes = self._cells("response_bytes", self.row_capacity)
        self.tokens = self._cells("tokens", self.row_capacity)
        """One more than the answer had; 0 where the server did not say."""
        self.mark_row = self._cells("mark_row", self.mark_capacity)
        self.mark_at_ns = self._cells("mark_at_ns", self.mark_capacity)
        self.mark_parts = self._cells("mark_parts", self.mark_capacity)
        outcome = self._offsets["outcome"]
        self.outcome = memoryview(self._map)[outcome : outcome + self.row_capacity]

    @classmethod
    def create(cls, row_capacity: int, mark_capacity: int = 0, share: int = 0, shares: int = 1) -> "Recorder":
        """Reserve room for ``share`` of ``shares``. Close it when every process that needs it has it."""
        # An empty column could not be looked at.
        row_capacity, mark_capacity = max(1, row_capacity), max(1, mark_capacity)
        fd = os.memfd_create("nightbench-rows")
        os.ftruncate(fd, _offsets(row_capacity, mark_capacity)["end"])
        header = np.zeros(len(_Word), np.int64)
        header[:4] = row_capacity, mark_capacity, share, shares
        os.pwrite(fd, header.tobytes(), 0)
        return cls(fd)

    def close(self) -> None:
        """Close the descriptor. What is mapped stays while it is used."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def schedule(self, offsets_ns: NDArray[np.int64]) -> None:
        """Take a row for each of these offsets from the start, which `begin` adds."""
        self.array("intended_ns")[: len(offsets_ns)] = offsets_ns
        self.rows = self._words[_ROWS] = len(offsets_ns)

    def begin(self, start_ns: int) -> None:
        """The run starts then: what was scheduled becomes due, and the caller is told."""
        self.array("intended_ns")[: self.rows] += start_ns
        self._words[_Word.STARTED_NS] = start_ns
        self.phase = Phase.RUNNING

    def take(self, intended_ns: int) -> int:
        """A new row for a request intended now. Only while there are fewer than ``row_capacity``."""
        row = self.rows
        self.intended_ns[row] = intended_ns
        self.rows = self._words[_ROWS] = row + 1
        return row

    def mark(self, row: int, at_ns: int, parts: int) -> None:
        """Note that ``parts`` of the answer to ``row`` were read now; ask for the end while there still is room."""
        mark = self._words[_MARKS]
        if mark >= self.mark_capacity - _MARKS_KEPT:
            self.ask_to_stop(Stop(at_ns, EndedBy.ROWS))
            if mark >= self.mark_capacity:
                return
        self.mark_row[mark] = row
        self.mark_at_ns[mark] = at_ns
        self.mark_parts[mark] = parts
        self._words[_MARKS] = mark + 1

    def cut(self, at_ns: int, sent: int) -> int:
        """Forget the scheduled rows that are due after ``at_ns``, none of the first ``sent``; how many are left."""
        self.rows = self._words[_ROWS] = max(sent, bisect_right(self.intended_ns, at_ns, 0, self.rows))
        return self.rows

    def settle(self, ended_ns: int) -> Samples:
        """Give what has no outcome UNFINISHED at ``ended_ns``; the samples, not copied."""
        samples = self.samples()
        pending = np.flatnonzero(samples.done_ns == 0)
        samples.outcome[pending] = Outcome.UNFINISHED
        samples.done_ns[pending] = ended_ns
        return samples

    def salvage(self, now_ns: int) -> Samples:
        """As `settle`, by another process when the engine is gone: what was due since never was."""
        self.rows = self._words[_ROWS]
        self.cut(now_ns, 0)
        return self.settle(now_ns)

    def samples(self) -> Samples:
        """The rows taken so far, not copied. Those without outcome are not told apart: see `settle`."""
        rows = self._words[_ROWS]
        return Samples(
            intended_ns=self.array("intended_ns")[:rows],
            sent_ns=self.array("sent_ns")[:rows],
            first_byte_ns=self.array("first_byte_ns")[:rows],
            done_ns=self.array("done_ns")[:rows],
            outcome=np.frombuffer(self.outcome, np.uint8)[:rows],
            response_bytes=self.array("response_bytes")[:rows],
        )

    def marks(self) -> Marks | None:
        """The marks so far; ``None`` if answers are not streamed."""
        if not self._words[_Word.STREAMED]:
            return None
        count = self._words[_MARKS]
        return Marks(
            row=self.array("mark_row")[:count],
            at_ns=self.array("mark_at_ns")[:count],
            parts=self.array("mark_parts")[:count],
            tokens=self.array("tokens")[: self._words[_ROWS]] - 1,
        )

    def array(self, column: str) -> NDArray[np.int64]:
        """A whole column of 64-bit cells, by its name here."""
        return np.frombuffer(getattr(self, column), np.int64)

    def streams(self) -> None:
        """Say that answers will leave marks, even if none does."""
        self._words[_Word.STREAMED] = 1

    @property
    def taken(self) -> int:
        """The engine's rows as another process sees them."""
        return self._words[_ROWS]

    @property
    def share(self) -> int:
        return self._words[_Word.SHARE]

    @property
    def shares(self) -> int:
        return self._words[_Word.SHARES]

    @property
    def phase(self) -> Phase:
        return Phase(self._words[_Word.PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._words[_Word.PHASE] = phase

    @property
    def started_ns(self) -> int:
        """0 until the engine has begun."""
        return self._words[_Word.STARTED_NS]

    @property
    def agreed_start_ns(self) -> int:
        """When all shares start together; 0 until the caller has said it."""
        return self._words[_Word.START_NS]

    @agreed_start_ns.setter
    def agreed_start_ns(self, start_ns: int) -> None:
        self._words[_Word.START_NS] = start_ns

    @property
    def connections_short(self) -> bool:
        """See `loadgen.job.JobResult.connections_short`; true from the moment it is."""
        return bool(self._words[_Word.CONNECTIONS_SHORT])

    def lacks_connections(self) -> None:
        """Say that a request had to wait for a connection, or got none, for want of room on this machine."""
        self._words[_Word.CONNECTIONS_SHORT] = 1

    @property
    def stop(self) -> Stop | None:
        at_ns = self._words[_Word.STOP_NS]
        return Stop(at_ns, _CAUSES[self._words[_Word.STOP_CAUSE]]) if at_ns else None

    def ask_to_stop(self, stop: Stop) -> None:
        """The first one counts."""
        if not self._words[_Word.STOP_NS]:
            self._words[_Word.STOP_CAUSE] = _CAUSES.index(stop.cause)
            self._words[_Word.STOP_NS] = stop.at_ns

    def _cells(self, column: str, count: int) -> "memoryview[int]":
        # A memoryview's cells are written quicker than those of arrays of `array`, ctypes' or numpy's.
        start = self._offsets[column]
        return memoryview(self._map)[start : start + count * _WORD_BYTES].cast("q")


def _offsets(row_capacity: int, mark_capacity: int) -> dict[str, int]:
    """Where each column begins, and the ``end``; each begins a page, so that an unused one takes none."""
    sizes = {
        "words": mmap.PAGESIZE,
        **dict.fromkeys(_ROW_COLUMNS, row_capacity * _WORD_BYTES),
        "outcome": row_capacity,
        **dict.fromkeys(_MARK_COLUMNS, mark_capacity * _WORD_BYTES),
    }
    offsets: dict[str, int] = {}
    at = 0
    for column, size in sizes.items():
        offsets[column] = at
        at += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    return {**offsets, "end": at}
