"""The comparison is what lets an artifact into the night: known answers, and what must never pass."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from export.compare import UNBOUNDED, compare
from nightbench.model import Tolerance

TIGHT = Tolerance(max_abs=1e-4, max_rel=1e-3)
Rows = NDArray[np.float32]

finite = st.floats(-(2.0**100), 2.0**100, width=32)
rows = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=finite)


def test_known_answer() -> None:
    want = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    got = np.array([[1.0, 0.5], [0.0, 1.0]], np.float32)
    result = compare("logits", 2, got, want, TIGHT, classes=True)
    assert result.max_abs == 1.0
    assert result.max_rel == 0.5  # the 0.5 where the reference is 0 has no relative error
    assert result.cosine == pytest.approx(1 / math.sqrt(1.25))  # item 0; item 1 points the same way
    assert result.top1_agreement == 1.0
    assert not result.passed
    assert result.detail == "item 1, value 1: 1 instead of 2"


def test_tolerance_bound_is_inclusive_and_adds_both_parts() -> None:
    want = np.array([[2.0]], np.float64)
    rule = Tolerance(max_abs=0.5, max_rel=0.25)
    assert compare("y", 1, want + 1.0, want, rule, classes=False).passed
    assert not compare("y", 1, want + 1.0001, want, rule, classes=False).passed


def test_top1_counts_items() -> None:
    want = np.eye(4, dtype=np.float32)
    got = want.copy()
    got[0] = got[0, ::-1]
    assert compare("y", 4, got, want, TIGHT, classes=True).top1_agreement == 0.75
    assert compare("y", 4, got, want, TIGHT, classes=False).top1_agreement is None


@given(rows)
def test_equal_arrays_pass_perfectly(want: Rows) -> None:
    result = compare("y", len(want), want.copy(), want, Tolerance(0, 0), classes=True)
    assert (result.max_abs, result.max_rel, result.top1_agreement, result.passed) == (0, 0, 1, True)
    assert result.cosine == pytest.approx(1)


@given(rows, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_a_stray_value_never_passes(want: Rows, stray: float, data: st.DataObject) -> None:
    got = want.copy()
    got.flat[data.draw(st.integers(0, got.size - 1))] = stray
    generous = Tolerance(math.inf, math.inf)
    result = compare("y", len(want), got, want, generous, classes=True)
    assert not result.passed
    assert "not finite" in result.detail
    assert result.max_abs == UNBOUNDED
    # An equally broken reference is no excuse.
    assert not compare("y", len(want), got, got, generous, classes=True).passed


@given(rows)
def test_another_shape_or_type_never_passes(want: Rows) -> None:
    generous = Tolerance(1e30, 1e30)
    assert not compare("y", 1, want[:-1], want, generous, classes=False).passed
    assert not compare("y", 1, want.astype(np.float64), want, generous, classes=False).passed


@given(rows.flatmap(lambda a: st.tuples(st.just(a), hnp.arrays(np.float32, a.shape, elements=finite))))
def test_figures_are_finite_and_agree_with_the_verdict(pair: tuple[Rows, Rows]) -> None:
    got, want = pair
    result = compare("y", len(want), got, want, TIGHT, classes=True)
    assert all(map(math.isfinite, (result.max_abs, result.max_rel, result.cosine)))
    assert -1 <= result.cosine <= 1
    gap = np.abs(got.astype(float) - want.astype(float))
    assert result.max_abs == gap.max()
    assert result.passed == bool((gap <= 1e-4 + 1e-3 * np.abs(want.astype(float))).all())
    assert result.passed == (result.detail == "")
