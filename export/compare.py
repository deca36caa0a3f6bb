"""How far one array stands from another: pure functions on NumPy arrays."""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.model import Tolerance

__all__ = ["UNBOUNDED", "OutputParity", "compare", "incomparable"]

UNBOUNDED = sys.float_info.max
"""Stands for a difference that has no figure: records hold finite numbers only."""


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output at one batch size against PyTorch fp32 on CPU. Every figure is finite."""

    output: str
    batch: int
    max_abs: float
    """The largest ``|got - want|``; `UNBOUNDED` where nothing could be compared or a value is not finite."""
    max_rel: float
    """The largest ``|got - want| / |want|``. Values whose reference is 0 have none and are left out."""
    cosine: float
    """The lowest cosine similarity of an item; 1 between two zero items, 0 where only one is zero."""
    top1_agreement: float | None
    """The share of items with the same largest score; ``None`` unless the output holds class scores."""
    passed: bool
    detail: str = ""
    """Why it did not pass, in words."""


def incomparable(output: str, batch: int, classes: bool, detail: str) -> OutputParity:
    """The verdict on an output that could not be compared at all."""
    top1 = 0.0 if classes else None
    return OutputParity(output, batch, UNBOUNDED, UNBOUNDED, 0.0, top1, passed=False, detail=detail)


def compare(
    output: str,
    batch: int,
    got: NDArray[np.generic],
    want: NDArray[np.generic],
    tolerance: Tolerance,
    classes: bool,
) -> OutputParity:
    """Compare items along the first axis.

    It passes where every value is finite and ``|got - want| <= max_abs + max_rel * |want|``; a wrong shape or type
    never passes. Sums and differences are taken in float64.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        detail = f"{got.dtype}{got.shape} instead of {want.dtype}{want.shape}"
        return incomparable(output, batch, classes, detail)
    if not want.size:
        return incomparable(output, batch, classes, "there is nothing to compare")
    items = len(want)
    have = got.astype(np.float64).reshape(items, -1)
    wish = want.astype(np.float64).reshape(items, -1)
    finite = np.isfinite(have) & np.isfinite(wish)
    if not finite.all():
        strays = int(finite.size - finite.sum())
        detail = f"{strays} of {finite.size} values are not finite"
        return incomparable(output, batch, classes, detail)
    with np.errstate(over="ignore"):
        gap = np.abs(have - wish)
        allowed = tolerance.max_abs + tolerance.max_rel * np.abs(wish)
        rel = np.divide(gap, np.abs(wish), out=np.zeros_like(gap), where=wish != 0)
        excess = gap - allowed
    worst = np.unravel_index(int(np.argmax(excess)), gap.shape)
    passed = bool(np.all(gap <= allowed))
    detail = "" if passed else f"item {worst[0]}, value {worst[1]}: {have[worst]:.6g} instead of {wish[worst]:.6g}"
    return OutputParity(
        output,
        batch,
        max_abs=min(float(gap.max()), UNBOUNDED),
        max_rel=min(float(rel.max()), UNBOUNDED),
        cosine=_lowest_cosine(have, wish),
        top1_agreement=float(np.mean(have.argmax(1) == wish.argmax(1))) if classes else None,
        passed=passed,
        detail=detail,
    )


def _lowest_cosine(have: NDArray[np.float64], wish: NDArray[np.float64]) -> float:
    def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        # scaled by the largest entry first, so that squares neither overflow nor vanish
        largest = np.abs(rows).max(1, keepdims=True)
        scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest != 0)
        length = np.linalg.norm(scaled, axis=1, keepdims=True)
        units: NDArray[np.float64] = np.divide(scaled, length, out=np.zeros_like(rows), where=length != 0)
        return units

    one, other = unit(have), unit(wish)
    cosines = np.sum(one * other, axis=1)
    both_zero = ~one.any(1) & ~other.any(1)
    return float(np.clip(np.where(both_zero, 1.0, cosines), -1, 1).min())
