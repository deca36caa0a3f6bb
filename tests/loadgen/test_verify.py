"""Comparing with the reference, and keeping answers in bounded memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.pool import Pool, rotation
from loadgen.verify import Keeper, strays
from nightbench.model import DType, TensorSpec, Tolerance
from nightbench.parity import Part

TOLERANCE = Tolerance(0.1, 0.01)


def y(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array(values, "<f4")}


@pytest.mark.parametrize(
    ("got", "want", "passes"),
    [
        (y(1.0, 2.0), y(1.0, 2.0), True),
        (y(100.9), y(100.0), True),
        (y(101.2), y(100.0), False),
        (y(0.2), y(0.0), False),
        (y(np.nan), y(np.nan), False),
        (y(np.nan), y(1.0), False),
        (y(np.inf), y(np.inf), False),
        (y(1.0), y(1.0, 2.0), False),
        ({}, y(1.0), False),
        ({"y": np.array([1, 2])}, {"y": np.array([1, 2])}, True),
    ],
)
def test_within_tolerance_or_not(got: dict, want: dict, passes: bool) -> None:
    assert (strays(got, want, TOLERANCE, {"y": (Part((), 1.0),)}) is None) is passes


def test_a_difference_says_which_output_how_much_and_what_was_allowed() -> None:
    assert strays(y(1.5, 2.0), y(1.0, 2.0), TOLERANCE, {"y": (Part((), 1.0),)}) == (
        "output 'y' differs by up to 0.5 from the reference in 1 of 2 values (tolerance: 0.1 + 0.01 of the value)"
    )


def test_an_item_that_happens_to_be_small_is_held_to_the_scale_of_the_pool() -> None:
    rule = Tolerance(None, max_nrmse=0.1)
    assert strays(y(0.02), y(0.01), rule, {"y": (Part((), 1.0),)}) is None
    assert strays(y(0.02), y(0.01), rule, {"y": (Part((), 0.01),)}) is not None


@given(every=st.integers(1, 9), count=st.integers(1, 400), size=st.integers(1, 50))
def test_kept_answers_stay_in_bounds_and_cover_the_whole_run(every: int, count: int, size: int) -> None:
    keeper = Keeper(every, limit_bytes=500)
    for row in range(count):
        if keeper.wants_next():
            keeper.keep(row, b"", size)
    rows = [row for row, _ in keeper.kept]
    assert rows[0] == 0
    assert len(rows) * size <= 500
    gaps = np.diff([*rows, count])
    assert max(gaps) <= 4 * max(every, count * size / 500)


def test_the_rotation_is_seeded_distinct_and_bounded() -> None:
    pool = Pool(40, {}, {})
    small = (TensorSpec("x", DType.FP32, (3,)),)
    assert sorted(rotation(pool, small, 1, 0)) == list(range(40))
    assert rotation(pool, small, 1, 0) == rotation(pool, small, 1, 0) != rotation(pool, small, 1, 1)
    large = (TensorSpec("x", DType.FP32, (3, 1024, 1024)),)
    assert len(rotation(pool, large, 2, 0)) == 10
    assert len(rotation(pool, large, 2000, 0)) == 1
