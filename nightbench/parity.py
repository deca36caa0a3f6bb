"""How far answers stand from PyTorch fp32, and how far they may: one rule for exported files and for servers.

Pure functions on NumPy arrays. Differences and sums are taken in float64, where the squares of every type that a
`TensorSpec` may have neither overflow nor vanish. `docs/parity.md` argues the bounds.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.model import ModelSpec, Precision, TensorSpec, Tolerance

__all__ = [
    "UNBOUNDED",
    "USUAL_NRMSE",
    "Answers",
    "OutputParity",
    "Part",
    "compare",
    "compare_all",
    "difference",
    "incomparable",
    "scales",
    "tolerance_at",
]

UNBOUNDED = sys.float_info.max
"""Stands for a difference that has no figure: records hold finite numbers only."""

USUAL_NRMSE: Mapping[Precision, float] = {
    Precision.FP32: 1e-4,
    Precision.FP16: 32 * 2.0**-11,
    Precision.BF16: 16 * 2.0**-8,
    Precision.INT8: 0.2,
    Precision.INT8_DYNAMIC: 0.1,
}
"""`Tolerance.max_nrmse` of a model that says nothing of its own; see `docs/parity.md`. That of fp32 decides only
which layer strays: whether an fp32 artifact passes is always its model's own tolerance."""

_TOP = 5
_CHUNK_VALUES = 2**21
"""Values that are turned into float64 at once: the answers of a detector are many."""

Answers = Mapping[str, NDArray[np.generic]]
"""Outputs by name, with their batch axis."""


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output at one batch size against PyTorch fp32 on CPU. Every figure is finite."""

    output: str
    batch: int
    max_abs: float
    """The largest ``|got - want|``; `UNBOUNDED` where nothing could be compared or a value is not finite."""
    max_rel: float
    """The largest ``|got - want| / |want|``. Values whose reference is 0 have none and are left out."""
    rmse: float
    """The root of the mean of ``(got - want)**2`` over all values of all items."""
    nrmse: float
    """The largest ``RMS(got - want)`` of a `Part` of an item, as a share of the part's scale. Where that is 0, 0 if the
    answer is all zero too and `UNBOUNDED` if not."""
    cosine: float
    """The lowest cosine similarity of an item; 1 between two zero items, 0 where only one is zero."""
    top1_agreement: float | None
    """The share of items where no class that the reference scores lower reaches the score of the one that it scores
    highest; ``None`` unless the output holds class scores. A tie is no agreement."""
    top5_agreement: float | None
    """Likewise, the share of items where fewer than five classes do: top-5 accuracy, with the reference for a label.
    ``None`` too where there are no more than five."""
    passed: bool
    detail: str = ""
    """Why it did not pass, in words."""
    diverges_at: str | None = None
    """The layer where it went wrong, if it was looked for and found."""
    items: int = 0
    """How many were compared."""
    answered: bool = True
    """``False`` where nobody answered, so that nothing is known of the numbers."""


@dataclass(frozen=True, slots=True)
class Part:
    """Values of an output that are of one kind, and how large they are."""

    where: tuple[slice, ...]
    """In an item; empty for all of it."""
    rms: float
    """Of the reference, over all of its items: what `Tolerance.max_nrmse` is a share of.

    Not of each item for itself. Two scores may both happen to be near 0, and what is an ordinary error beside the
    other items is a large one beside them.
    """

    def __str__(self) -> str:
        """As NumPy writes it: ``[:, 4:5]``."""
        return f"[{', '.join(':' if each == slice(None) else f'{each.start}:{each.stop}' for each in self.where)}]"


def tolerance_at(spec: ModelSpec, precision: Precision, weights: str) -> Tolerance:
    """What a model's answers must be held to in ``precision``, with these ``weights``.

    Below fp32 no single value is bounded, unless the model says so itself: rounding is relative to the terms of a sum,
    and a sum that nearly cancels keeps no digit. The whole of an item is.
    """
    if precision is Precision.FP32:
        return spec.tolerance
    usual = Tolerance(max_abs=None, max_nrmse=USUAL_NRMSE[precision])
    return spec.tolerances.get(precision, usual) if weights == "random" else usual


def scales(want: NDArray[np.generic], parts: Sequence[int] = ()) -> tuple[Part, ...]:
    """The parts of a reference, cut as its `TensorSpec` says; raises `ValueError` if no axis has their length."""
    return tuple(Part(where, _rms(want[:, *where])) for where in _places(want.shape[1:], parts))


def _places(shape: tuple[int, ...], parts: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    if not parts:
        yield ()
        return
    axis = len(shape) - 1 - shape[::-1].index(sum(parts))
    for number, length in enumerate(parts):
        start = sum(parts[:number])
        yield tuple(slice(start, start + length) if each == axis else slice(None) for each in range(len(shape)))


def _rms(want: NDArray[np.generic]) -> float:
    squares = sum(float(np.sum(wish**2)) for wish in map(_row, _some(want)))
    return float(np.sqrt(squares / want.size)) if want.size else 0.0


def difference(
    got: NDArray[np.generic], want: NDArray[np.generic], tolerance: Tolerance, of: Sequence[Part] | None = None
) -> str | None:
    """Why ``got`` does not pass for ``want``, in words that follow an output's name; ``None`` if it does.

    It passes if it has the shape and type of ``want``, there is something to compare, every value of both is finite,
    and `Tolerance` holds. ``of`` are the `scales` of all items of which ``want`` is some; its own by default.
    """
    unlike = _unlike(got, want)
    if unlike is not None:
        return unlike
    tally = _Tally(tolerance, want.shape[1:], _needed(tolerance, want) if of is None else of)
    for chunk in _chunks(got, want):
        tally.add(chunk)
    return tally.verdict()


def compare(
    output: str,
    batch: int,
    got: NDArray[np.generic],
    want: NDArray[np.generic],
    tolerance: Tolerance,
    *,
    classes: bool = False,
    parts: Sequence[int] = (),
) -> OutputParity:
    """All figures of one output, items along its first axis; it passes as in `difference`.

    ``classes`` tells that the output holds a row of class scores; ``parts`` are those of `TensorSpec`.
    """
    unlike = _unlike(got, want)
    if unlike is not None:
        return incomparable(output, batch, unlike, classes=classes)
    tally = _Tally(tolerance, want.shape[1:], scales(want, parts))
    figures = [_figures(chunk) for chunk in _chunks(got, want) if tally.add(chunk)]
    detail = tally.verdict()
    if tally.not_finite:
        return incomparable(output, batch, detail or "", classes=classes)
    return OutputParity(
        output,
        batch,
        max_abs=max(each.max_abs for each in figures),
        max_rel=max(each.max_rel for each in figures),
        rmse=float(np.sqrt(sum(each.squares for each in figures) / got.size)),
        nrmse=tally.nrmse,
        cosine=min(each.cosine for each in figures),
        top1_agreement=sum(each.top1 for each in figures) / len(got) if classes else None,
        top5_agreement=sum(each.top5 for each in figures) / len(got) if classes and got[0].size > _TOP else None,
        passed=detail is None,
        detail=detail or "",
        items=len(got),
    )


def compare_all(
    outputs: Sequence[TensorSpec],
    batch: int,
    got: Sequence[Answers],
    want: Sequence[Answers],
    tolerance: Tolerance,
    *,
    classifier: bool = False,
    language: bool = False,
) -> tuple[OutputParity, ...]:
    """One result an output of several answers to requests of ``batch`` items; the two flags are those of `ModelSpec`.

    Texts are the same or they are not: one that differs has no other figures.
    """
    return tuple(
        _compare_parts(
            output,
            batch,
            [answer.get(output.name) for answer in got],
            [answer[output.name] for answer in want],
            tolerance,
            classes=classifier and position == 0,
            text=language,
        )
        for position, output in enumerate(outputs)
    )


def incomparable(output: str, batch: int, detail: str, *, classes: bool = False, answered: bool = True) -> OutputParity:
    """The verdict on an output that could not be compared at all."""
    none = 0.0 if classes else None
    return OutputParity(
        output,
        batch,
        max_abs=UNBOUNDED,
        max_rel=UNBOUNDED,
        rmse=UNBOUNDED,
        nrmse=UNBOUNDED,
        cosine=0.0,
        top1_agreement=none,
        top5_agreement=none,
        passed=False,
        detail=detail,
        answered=answered,
    )


def _compare_parts(
    output: TensorSpec,
    batch: int,
    got: Sequence[NDArray[np.generic] | None],
    want: Sequence[NDArray[np.generic]],
    tolerance: Tolerance,
    *,
    classes: bool,
    text: bool,
) -> OutputParity:
    """As `compare`, of what came in several answers; one that is unlike its reference decides."""
    parts: list[NDArray[np.generic]] = []
    for have, wish in zip(got, want, strict=True):
        unlike = "is missing" if have is None else _unlike(have, wish)
        if unlike is not None or have is None:
            return incomparable(output.name, batch, unlike or "", classes=classes)
        parts.append(have)
    have, wish = np.concatenate(parts), np.concatenate(want)
    if text and not np.array_equal(have, wish):
        item, byte = np.argwhere(have != wish)[0][:2]
        return incomparable(output.name, batch, f"is another text from byte {byte} of item {item} on")
    return compare(output.name, batch, have, wish, tolerance, classes=classes, parts=output.parts)


def _unlike(got: NDArray[np.generic], want: NDArray[np.generic]) -> str | None:
    if got.shape != want.shape:
        return f"has shape {list(got.shape)}, not {list(want.shape)}"
    if got.dtype != want.dtype:
        return f"has type {got.dtype}, not {want.dtype}"
    return None if want.size else "holds nothing to compare"


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some items at a time, each as a row of float64."""

    have: NDArray[np.float64]
    wish: NDArray[np.float64]
    gap: NDArray[np.float64]
    """How far apart they are. Integers that differ do so by one at least, also where float64 does not tell them apart:
    it holds those up to 2**53."""


def _chunks(got: NDArray[np.generic], want: NDArray[np.generic]) -> Iterator[_Chunk]:
    for some, others in zip(_some(got), _some(want), strict=True):
        have, wish = _row(some), _row(others)
        with np.errstate(invalid="ignore"):  # what is not finite is found by who adds it up
            gap = np.abs(have - wish)
        if want.dtype.kind in "iu":
            gap = np.maximum(gap, (some != others).reshape(gap.shape))
        yield _Chunk(have, wish, gap)


def _some(array: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    items = max(1, _CHUNK_VALUES * len(array) // max(1, array.size))
    for start in range(0, len(array), items):
        yield array[start : start + items]


def _row(some: NDArray[np.generic]) -> NDArray[np.float64]:
    return some.astype(np.float64).reshape(len(some), -1)


def _needed(tolerance: Tolerance, want: NDArray[np.generic]) -> tuple[Part, ...]:
    return () if tolerance.max_nrmse is None else scales(want)


class _Tally:
    """`Tolerance`, asked of one chunk after the other. No more is computed than it needs: the load engine asks it of
    thousands of answers."""

    def __init__(self, tolerance: Tolerance, shape: tuple[int, ...], of: Sequence[Part]) -> None:
        self.not_finite = 0
        self.nrmse = 0.0
        self._tolerance = tolerance
        self._shape = shape
        self._parts = of
        self._values = 0
        self._outside = 0
        self._furthest = 0.0
        self._furthest_part = ""

    def add(self, chunk: _Chunk) -> bool:
        """Whether all values are finite."""
        self._values += chunk.wish.size
        finite = np.isfinite(chunk.have) & np.isfinite(chunk.wish)
        if not finite.all():
            self.not_finite += finite.size - int(np.count_nonzero(finite))
            return False
        if self._tolerance.max_abs is not None:
            allowed = self._tolerance.max_abs + self._tolerance.max_rel * np.abs(chunk.wish)
            self._outside += int(np.count_nonzero(chunk.gap > allowed))
            self._furthest = max(self._furthest, float(chunk.gap.max()))
        for part in self._parts:
            nrmse = _nrmse(chunk.gap, self._shape, part)
            if nrmse > self.nrmse:
                self.nrmse = nrmse
                self._furthest_part = f" in {part}" if part.where else ""
        return True

    def verdict(self) -> str | None:
        told = self._tolerance
        if self.not_finite:
            return f"holds {self.not_finite} values of {self._values} that are not finite, or its reference does"
        if self._outside:
            return (
                f"differs by up to {self._furthest:.3g} from the reference in {self._outside} of {self._values} "
                f"values (tolerance: {told.max_abs:g} + {told.max_rel:g} of the value)"
            )
        if told.max_nrmse is not None and self.nrmse > told.max_nrmse:
            share = "" if self.nrmse == UNBOUNDED else f" by {self.nrmse:.3g} of its RMS"
            return (
                f"differs from the reference{share}{self._furthest_part} in an item (tolerance: {told.max_nrmse:.3g})"
            )
        return None


@dataclass(frozen=True, slots=True)
class _Figures:
    """What `OutputParity` says, of one chunk; sums where it says means."""

    max_abs: float
    max_rel: float
    squares: float
    cosine: float
    top1: int
    top5: int


def _figures(chunk: _Chunk) -> _Figures:
    have, wish, gap = chunk.have, chunk.wish, chunk.gap
    size = np.abs(wish)
    best = np.arange(len(wish)), wish.argmax(1)
    rivals = np.count_nonzero((have >= have[best][:, np.newaxis]) & (wish < wish[best][:, np.newaxis]), axis=1)
    return _Figures(
        max_abs=float(gap.max()),
        max_rel=float(np.divide(gap, size, out=np.zeros_like(gap), where=size != 0).max()),
        squares=float(np.sum(gap**2)),
        cosine=_lowest_cosine(have, wish),
        top1=int(np.count_nonzero(rivals < 1)),
        top5=int(np.count_nonzero(rivals < _TOP)),
    )


def _nrmse(gap: NDArray[np.float64], shape: tuple[int, ...], part: Part) -> float:
    """The largest of the items."""
    if part.where:
        gap = gap.reshape(-1, *shape)[:, *part.where].reshape(len(gap), -1)
    off = float(np.linalg.norm(gap, axis=1).max() / np.sqrt(gap.shape[1]))
    if part.rms == 0.0:
        return UNBOUNDED if off else 0.0
    return off / part.rms


def _lowest_cosine(have: NDArray[np.float64], wish: NDArray[np.float64]) -> float:
    one, other = np.linalg.norm(have, axis=1), np.linalg.norm(wish, axis=1)
    both_zero = (one == 0) & (other == 0)
    product = one * other
    cosines = np.divide(np.sum(have * wish, axis=1), product, out=both_zero.astype(np.float64), where=product != 0)
    return float(np.clip(cosines, -1, 1).min())
