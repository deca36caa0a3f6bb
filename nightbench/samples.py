"""One row a request: the raw material of every figure."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Marks", "Outcome", "Samples", "save_merged"]

_COLUMNS = ("intended_ns", "sent_ns", "first_byte_ns", "done_ns", "outcome", "response_bytes")
_MARKS = ("row", "at_ns", "parts", "tokens")
_MARK_PREFIX = "mark."
_ZLIB_LEVEL = 1
"""A third of the size. Ten million rows take three seconds; at the usual level they take twenty for little more."""


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
    HTTP_429 = 10
    """Too many requests: the server sheds load, and says so."""
    HTTP_503 = 11
    """Unavailable: overloaded, or not ready."""

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

    def save(self, path: Path, marks: "Marks | None" = None) -> None:
        """Write the columns as a compressed ``.npz``, with ``marks`` if there are any; whole or not at all."""
        save_merged(path, [self], [marks])

    @classmethod
    def empty(cls) -> "Samples":
        """Of nothing that was sent."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, np.empty(0, np.uint8), none)

    @classmethod
    def load(cls, path: Path) -> "Samples":
        with np.load(path, allow_pickle=False) as columns:
            return cls(*(columns[name] for name in _COLUMNS))


@dataclass(frozen=True, slots=True)
class Marks:
    """When the parts of streamed answers came. The first three columns are of equal length, in order of time.

    ``row`` points into the samples of the whole run, which are not cut; a row without marks streamed nothing.
    """

    row: NDArray[np.int64]
    at_ns: NDArray[np.int64]
    parts: NDArray[np.int64]
    """Parts that were read together, tokens as a rule: more than one came in one burst."""
    tokens: NDArray[np.int64]
    """For every row of the samples, the tokens of its answer as the server counts them; -1 where it did not say."""

    @classmethod
    def load(cls, path: Path) -> "Marks | None":
        """The marks that were saved with samples; ``None`` if their answers were not streamed."""
        with np.load(path, allow_pickle=False) as columns:
            if _MARK_PREFIX + _MARKS[0] not in columns:
                return None
            return cls(*(columns[_MARK_PREFIX + name] for name in _MARKS))


def save_merged(path: Path, parts: Sequence[Samples], marks: Sequence[Marks | None]) -> None:
    """Write several samples as one, ordered by ``intended_ns``, and their marks as one; as `Samples.save` does.

    Only one merged column is in memory at a time.
    """
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=_ZLIB_LEVEL) as archive:
        for name, column in _merged(parts, marks):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, column, allow_pickle=False)
    partial.replace(path)


def _merged(parts: Sequence[Samples], marks: Sequence[Marks | None]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """The file's columns, one after the other."""
    order = _order([part.intended_ns for part in parts])
    for name in _COLUMNS:
        yield name, _joined([getattr(part, name) for part in parts], order)
    streamed = [each for each in marks if each is not None]
    if not streamed:
        return
    by_time = _order([each.at_ns for each in streamed])
    yield _MARK_PREFIX + "row", _joined(_rows_of(streamed, order), by_time)
    for name in ("at_ns", "parts"):
        yield _MARK_PREFIX + name, _joined([getattr(each, name) for each in streamed], by_time)
    yield _MARK_PREFIX + "tokens", _joined([each.tokens for each in streamed], order)


def _order(keys: Sequence[NDArray[np.int64]]) -> NDArray[np.intp] | None:
    """How the parts' rows, one part after the other, are brought into order. Each part is in order by itself."""
    return None if len(keys) == 1 else np.argsort(np.concatenate(keys), kind="stable")


def _joined(parts: Sequence[NDArray[np.generic]], order: NDArray[np.intp] | None) -> NDArray[np.generic]:
    return parts[0] if order is None else np.concatenate(parts)[order]


def _rows_of(marks: Sequence[Marks], order: NDArray[np.intp] | None) -> list[NDArray[np.int64]]:
    """The ``row`` of each part's marks in the merged samples."""
    if order is None:
        return [each.row for each in marks]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    firsts = np.cumsum([0, *(len(each.tokens) for each in marks)])
    return [place[each.row + first] for each, first in zip(marks, firsts[:-1], strict=True)]
