"""One row a request: the raw material of every figure."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Outcome", "Samples"]

_COLUMNS = ("intended_ns", "sent_ns", "first_byte_ns", "done_ns", "outcome", "response_bytes")


class Outcome(IntEnum):
    """How a request ended. Everything that was due ends as one of these; nothing is left out."""

    OK = 0
    HTTP_4XX = 1
    HTTP_5XX = 2
    RPC_ERROR = 3
    REFUSED = 4
    RESET = 5
    TIMEOUT = 6
    PROTOCOL_ERROR = 7
    WRONG_OUTPUT = 8
    UNFINISHED = 9
    """Still in flight, or never sent, when the cell's drain time was over."""

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns of equal length, ordered by ``intended_ns``, in nanoseconds of the engine's monotonic clock.

    ``latency = done - intended`` holds the wait for a late sender (no coordinated omission, see Tene, "How NOT
    to Measure Latency"); ``service = done - sent`` does not; ``lag = sent - intended`` is the sender's own delay.
    In a closed loop ``intended`` equals ``sent``. A request never sent has ``sent_ns`` and ``first_byte_ns`` 0.
    """

    intended_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    first_byte_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    response_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.intended_ns)

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        return self.done_ns - self.intended_ns

    @property
    def service_ns(self) -> NDArray[np.int64]:
        return self.done_ns - self.sent_ns

    @property
    def lag_ns(self) -> NDArray[np.int64]:
        return self.sent_ns - self.intended_ns

    @property
    def ok(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self.outcome == Outcome.OK
        return mask

    def where(self, rows: NDArray[np.bool_] | slice) -> "Samples":
        """The rows of a slice, which are not copied, or those for which a mask is true."""
        return Samples(*(getattr(self, name)[rows] for name in _COLUMNS))

    def between(self, start_ns: int, end_ns: int) -> "Samples":
        """The rows intended in [start_ns, end_ns), not copied."""
        first, last = np.searchsorted(self.intended_ns, (start_ns, end_ns)).tolist()
        return self.where(slice(first, max(first, last)))

    def counts(self) -> dict[str, int]:
        """How many requests ended in each way, by label; ways that did not occur are left out."""
        codes, counts = np.unique(self.outcome, return_counts=True)
        return {Outcome(int(code)).label: int(count) for code, count in zip(codes, counts, strict=True)}

    def save(self, path: Path) -> None:
        """Write the columns as a compressed ``.npz``; whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, **{name: getattr(self, name) for name in _COLUMNS})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Samples":
        with np.load(path, allow_pickle=False) as columns:
            return cls(*(columns[name] for name in _COLUMNS))
