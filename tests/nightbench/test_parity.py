"""The comparison is what lets an artifact and a server into the night: known answers, and what must never pass."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from nightbench import parity
from nightbench.model import DType, ModelSpec, Precision, TensorSpec, Tolerance
from nightbench.parity import UNBOUNDED, OutputParity, compare, compare_all, difference, scales, tolerance_at

TIGHT = Tolerance(max_abs=1e-4, max_rel=1e-3)
ANY = Tolerance(max_abs=math.inf)
Rows = NDArray[np.float32]

finite = st.floats(-(2.0**100), 2.0**100, width=32)
rows = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=finite)
pairs = rows.flatmap(lambda a: st.tuples(hnp.arrays(np.float32, a.shape, elements=finite), st.just(a)))


def figures(result: OutputParity) -> list[float]:
    return [value for value in asdict(result).values() if isinstance(value, float)]


def test_known_answer() -> None:
    want = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    got = np.array([[1.0, 0.5], [0.0, 1.0]], np.float32)
    result = compare("logits", 2, got, want, TIGHT, classes=True)
    assert result.max_abs == 1.0
    assert result.max_rel == 0.5  # the 0.5 where the reference is 0 has no relative error
    assert result.rmse == pytest.approx(math.sqrt(1.25 / 4))
    assert result.nrmse == pytest.approx(math.sqrt(0.5) / math.sqrt(5 / 4))  # item 1, beside the RMS of both
    assert result.cosine == pytest.approx(1 / math.sqrt(1.25))  # item 0; item 1 points the same way
    assert result.top1_agreement == 1.0
    assert not result.passed
    assert result.detail == (
        "differs by up to 1 from the reference in 2 of 4 values (tolerance: 0.0001 + 0.001 of the value)"
    )


def test_tolerance_bound_is_inclusive_and_adds_both_parts() -> None:
    want = np.array([[2.0]], np.float64)
    rule = Tolerance(max_abs=0.5, max_rel=0.25)
    assert compare("y", 1, want + 1.0, want, rule, classes=False).passed
    assert not compare("y", 1, want + 1.0001, want, rule, classes=False).passed


def test_the_whole_of_an_item_is_bounded_and_no_other_item_makes_up_for_it() -> None:
    want = np.array([[3.0, 4.0], [-4.0, 3.0]], np.float32)
    got = want + np.array([[0.0, 0.5], [0.0, 0.0]], np.float32)
    assert compare("y", 2, got, want, Tolerance(None, max_nrmse=0.1001)).passed
    result = compare("y", 2, got, want, Tolerance(None, max_nrmse=0.099))
    assert not result.passed
    assert result.nrmse == pytest.approx(0.1)
    assert result.detail == "differs from the reference by 0.1 of its RMS in an item (tolerance: 0.099)"
    # Both bounds hold where both are given.
    assert not compare("y", 2, got, want, Tolerance(0.4, max_nrmse=0.2)).passed


def test_an_item_is_held_to_the_scale_of_all() -> None:
    want = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    result = compare("y", 2, want + np.float32(0.1), want, Tolerance(None, max_nrmse=0.05))
    assert result.passed
    assert result.nrmse == pytest.approx(0.1 / 2.5)
    # A part of it alone passes by the same scale, and not by its own.
    assert difference(want[1:] + np.float32(0.1), want[1:], Tolerance(None, max_nrmse=0.05), scales(want)) is None
    assert difference(want[1:] + np.float32(0.1), want[1:], Tolerance(None, max_nrmse=0.05)) is not None


def test_beside_a_reference_of_zeros_only_zeros_pass() -> None:
    zeros = np.zeros((2, 3), np.float32)
    rule = Tolerance(None, max_nrmse=1e9)
    assert compare("y", 2, zeros, zeros, rule).nrmse == 0.0
    assert compare("y", 2, zeros, zeros, rule).passed
    result = compare("y", 2, zeros + np.float32(1e-30), zeros, rule)
    assert (result.nrmse, result.passed, result.cosine) == (UNBOUNDED, False, 0.0)
    assert result.detail == "differs from the reference in an item (tolerance: 1e+09)"


def test_top1_counts_items() -> None:
    want = np.eye(4, dtype=np.float32)
    got = want.copy()
    got[0] = got[0, ::-1]
    assert compare("y", 4, got, want, TIGHT, classes=True).top1_agreement == 0.75
    result = compare("y", 4, got, want, TIGHT, classes=False)
    assert (result.top1_agreement, result.top5_agreement) == (None, None)


def test_top5_asks_whether_the_references_best_is_among_the_five() -> None:
    want = np.array([[9.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]] * 2, np.float32)
    fifth = np.array([5.0, 9.0, 8.0, 7.0, 6.0, 0.0, 0.0], np.float32)
    sixth = np.array([5.0, 9.0, 8.0, 7.0, 6.0, 5.5, 0.0], np.float32)
    result = compare("y", 2, np.stack([fifth, sixth]), want, ANY, classes=True)
    assert (result.top1_agreement, result.top5_agreement) == (0.0, 0.5)


def test_scores_that_are_all_the_same_agree_with_nothing() -> None:
    want = np.array([[9.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]], np.float32)
    result = compare("y", 1, np.zeros_like(want), want, ANY, classes=True)
    assert (result.top1_agreement, result.top5_agreement) == (0.0, 0.0)
    # Where the reference cannot tell two apart, either will do.
    level = np.array([[9.0, 9.0, 4.0, 3.0, 2.0, 1.0, 0.0]], np.float32)
    other = np.array([[8.0, 9.0, 4.0, 3.0, 2.0, 1.0, 0.0]], np.float32)
    assert compare("y", 1, other, level, ANY, classes=True).top1_agreement == 1.0


def test_the_first_five_of_five_classes_say_nothing() -> None:
    five = np.arange(5, dtype=np.float32)[np.newaxis]
    assert compare("y", 1, five[:, ::-1].copy(), five, ANY, classes=True).top5_agreement is None


BOX = TensorSpec("y", DType.FP32, (3, 6), parts=(4, 2))
TURNED = TensorSpec("y", DType.FP32, (6, 3), parts=(4, 2))


def boxes(count: int) -> Rows:
    """Four values of hundreds and two below 1 in each row."""
    drawn = np.random.default_rng(0).random((count, 3, 6), np.float32)
    drawn[..., :4] *= 500
    return drawn


@pytest.mark.parametrize("turned", [False, True])
def test_each_part_of_an_output_has_a_scale_of_its_own(turned: bool) -> None:
    spec, axes = (TURNED, (0, 2, 1)) if turned else (BOX, (0, 1, 2))
    want, rule = boxes(2).transpose(axes), Tolerance(None, max_nrmse=0.7)
    got = boxes(2)
    got[1, :, 4:] = 0
    got = got.transpose(axes)
    (result,) = compare_all([spec], 2, [{"y": got}], [{"y": want}], rule)
    rms = np.sqrt(np.mean(boxes(2)[..., 4:].astype(float) ** 2))
    assert result.nrmse == pytest.approx(np.sqrt(np.mean(boxes(2)[1, :, 4:].astype(float) ** 2)) / rms)
    where = "[4:6, :]" if turned else "[:, 4:6]"
    assert result.detail == f"differs from the reference by {result.nrmse:.3g} of its RMS in {where} in an item" + (
        " (tolerance: 0.7)"
    )
    assert compare("y", 2, got, want, rule).passed
    # And so it is for one item among those that the load engine keeps.
    assert difference(got[1:], want[1:], rule, scales(want, spec.parts)) is not None
    assert difference(got[:1], want[:1], rule, scales(want, spec.parts)) is None


def test_parts_fit_an_axis_or_are_refused() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        scales(boxes(1), (4, 3))


@given(pairs)
def test_one_part_is_the_whole(pair: tuple[Rows, Rows]) -> None:
    assert compare("y", 1, *pair, ANY, parts=(pair[0].shape[-1],)).nrmse == pytest.approx(
        compare("y", 1, *pair, ANY).nrmse
    )


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_are_the_same_or_they_are_not(dtype: type[Any]) -> None:
    most = np.iinfo(dtype).max
    want = np.array([[most, 0]], dtype)
    got = np.array([[most - 1, 0]], dtype)
    result = compare("y", 1, got, want, Tolerance(0.5))
    assert (result.passed, result.max_abs) == (False, 1.0)
    assert difference(got, want, Tolerance(0.0)) is not None
    assert compare("y", 1, got, want, Tolerance(1.0)).passed
    assert compare("y", 1, want.copy(), want, Tolerance(0.0)).passed


def test_neighbours_that_float64_holds_to_be_equal_are_not() -> None:
    want = np.array([[2**53]], np.int64)
    assert not compare("y", 1, want + 1, want, Tolerance(2e-3)).passed


@given(rows)
def test_equal_arrays_pass_perfectly(want: Rows) -> None:
    result = compare("y", len(want), want.copy(), want, Tolerance(0, 0, 0.0), classes=True)
    assert (result.max_abs, result.max_rel, result.rmse, result.nrmse) == (0, 0, 0, 0)
    assert (result.top1_agreement, result.passed) == (1, True)
    assert result.top5_agreement == (1 if want[0].size > 5 else None)
    assert result.cosine == pytest.approx(1)


@given(rows, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_a_stray_value_never_passes(want: Rows, stray: float, data: st.DataObject) -> None:
    got = want.copy()
    got.flat[data.draw(st.integers(0, got.size - 1))] = stray
    generous = Tolerance(math.inf, math.inf, math.inf)
    result = compare("y", len(want), got, want, generous, classes=True)
    assert not result.passed
    assert "not finite" in result.detail
    assert result.max_abs == result.nrmse == UNBOUNDED
    assert difference(got, want, generous) == result.detail
    # An equally broken reference is no excuse.
    assert not compare("y", len(want), got, got, generous, classes=True).passed


@given(rows)
def test_another_shape_or_type_never_passes(want: Rows) -> None:
    generous = Tolerance(1e30, 1e30)
    assert not compare("y", 1, want[:-1], want, generous, classes=False).passed
    assert not compare("y", 1, want.astype(np.float64), want, generous, classes=False).passed
    assert difference(want.astype(np.float64), want, generous) == "has type float64, not float32"


@given(pairs)
def test_figures_are_finite_and_agree_with_the_verdict(pair: tuple[Rows, Rows]) -> None:
    got, want = pair
    result = compare("y", len(want), got, want, TIGHT, classes=True)
    assert all(map(math.isfinite, figures(result)))
    assert -1 <= result.cosine <= 1
    gap = np.abs(got.astype(float) - want.astype(float))
    assert result.max_abs == gap.max()
    assert result.passed == bool((gap <= 1e-4 + 1e-3 * np.abs(want.astype(float))).all())
    assert result.passed == (result.detail == "")
    assert difference(got, want, TIGHT) == (result.detail or None)


@given(pairs)
def test_root_mean_squares_are_numpys(pair: tuple[Rows, Rows]) -> None:
    have, wish = (each.astype(float).reshape(len(each), -1) for each in pair)
    result = compare("y", len(wish), *pair, ANY)
    off, size = np.sqrt(np.mean((have - wish) ** 2, axis=1)), np.sqrt(np.mean(wish**2))
    assert result.rmse == pytest.approx(np.sqrt(np.mean((have - wish) ** 2)))
    (whole,) = scales(pair[1])
    assert whole.rms == pytest.approx(size)
    if size > 0:
        assert result.nrmse == pytest.approx(off.max() / size)
    # What passes at its own figure fails just below it.
    if 0 < result.nrmse < UNBOUNDED:
        assert difference(*pair, Tolerance(None, max_nrmse=result.nrmse)) is None
        assert difference(*pair, Tolerance(None, max_nrmse=result.nrmse * 0.999)) is not None


@given(pairs)
def test_agreement_is_numpys_and_a_wider_one_is_no_smaller(pair: tuple[Rows, Rows]) -> None:
    have, wish = (each.reshape(len(each), -1) for each in pair)
    result = compare("y", len(wish), *pair, ANY, classes=True)
    best = wish.argmax(1)
    lower = [[other for other in range(row.size) if row[other] < row[one]] for row, one in zip(wish, best, strict=True)]
    rivals = np.array([np.sum(row[less] >= row[one]) for row, one, less in zip(have, best, lower, strict=True)])
    top1, top5 = np.mean(rivals == 0), np.mean(rivals < 5)
    assert (result.top1_agreement, result.top5_agreement) == (top1, top5 if wish.shape[1] > 5 else None)
    assert top1 <= top5
    # Where no scores tie, it is the largest one.
    if all(len(np.unique(row)) == row.size for row in (*have, *wish)):
        assert top1 == np.mean(have.argmax(1) == best)


@given(pairs, st.integers(1, 40))
def test_figures_do_not_depend_on_how_many_items_are_looked_at_at_once(pair: tuple[Rows, Rows], values: int) -> None:
    whole = compare("y", 1, *pair, TIGHT, classes=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "_CHUNK_VALUES", values)
        parts = compare("y", 1, *pair, TIGHT, classes=True)
    assert figures(parts) == pytest.approx(figures(whole))
    assert (parts.passed, parts.detail) == (whole.passed, whole.detail)


OUTPUTS = (TensorSpec("y", DType.FP32, (2,)), TensorSpec("z", DType.FP32, (1,)))


def answer(y: Any, z: Any) -> dict[str, NDArray[np.generic]]:
    return {"y": np.array(y, np.float32), "z": np.array(z, np.float32)}


def test_answers_in_parts_are_compared_as_one() -> None:
    want = [answer([[1, 2]], [[3]]), answer([[2, 1]], [[3]])]
    got = [answer([[1, 2]], [[3]]), answer([[1, 2]], [[4]])]
    y, z = compare_all(OUTPUTS, 1, got, want, TIGHT, classifier=True)
    assert (y.output, y.top1_agreement, y.max_abs, y.passed) == ("y", 0.5, 1.0, False)
    assert (z.output, z.top1_agreement, z.passed) == ("z", None, False)
    assert z.rmse == pytest.approx(math.sqrt(0.5))


def test_an_output_that_is_missing_or_unlike_costs_no_other_output() -> None:
    want = [answer([[1, 2]], [[3]])] * 2
    y, z = compare_all(OUTPUTS, 1, [want[0], {"z": want[0]["z"]}], want, TIGHT)
    assert (y.detail, z.passed) == ("is missing", True)
    y, z = compare_all(OUTPUTS, 1, [want[0], answer([[1]], [[3]])], want, TIGHT)
    assert (y.detail, z.passed) == ("has shape [1, 1], not [1, 2]", True)


def test_texts_are_the_same_or_they_are_not() -> None:
    text = (TensorSpec("text", DType.UINT8, (5,)),)

    def said(words: bytes) -> dict[str, NDArray[np.generic]]:
        return {"text": np.frombuffer(words, np.uint8)[np.newaxis]}

    want = [said(b"hello"), said(b"world")]
    exact = Tolerance(0.0)
    assert compare_all(text, 1, want, want, exact, language=True)[0].passed
    (other,) = compare_all(text, 1, [said(b"hello"), said(b"wordl")], want, exact, language=True)
    assert (other.passed, other.detail) == (False, "is another text from byte 3 of item 1 on")
    # How far one letter is from another means nothing.
    assert other.max_abs == other.nrmse == UNBOUNDED
    (short,) = compare_all(text, 1, [said(b"hello"), said(b"wor")], want, exact, language=True)
    assert (short.passed, short.detail) == (False, "has shape [1, 3], not [1, 5]")


def model(**fields: Any) -> ModelSpec:
    return ModelSpec("m", "f", 1, inputs=(), outputs=OUTPUTS, tolerance=TIGHT, **fields)


def test_a_models_own_tolerance_goes_before_the_usual_one() -> None:
    own = Tolerance(None, max_nrmse=0.5)
    assert tolerance_at(model(tolerances={Precision.BF16: own}), Precision.BF16, "random") is own
    assert tolerance_at(model(tolerances={Precision.BF16: own}), Precision.BF16, "hub/id") is not own
    assert tolerance_at(model(tolerances={Precision.BF16: own}), Precision.FP32, "random") is TIGHT


def test_the_usual_tolerance_bounds_the_item_and_widens_with_the_unit_roundoff() -> None:
    usual = [tolerance_at(model(), precision, "random") for precision in Precision if precision is not Precision.FP32]
    assert all(each.max_abs is None and each.max_nrmse for each in usual)
    bounds = {precision: tolerance_at(model(), precision, "random").max_nrmse or 0.0 for precision in Precision}
    assert 2.0**-11 < bounds[Precision.FP16] < bounds[Precision.BF16]
    assert bounds[Precision.BF16] > 2.0**-8
