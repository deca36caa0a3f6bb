"""Every rule is counted alike, so the count must be right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.judge.counting import QUIET, WITHIN, false_alarms, found, measure, stepped, young
from benchmarks.judge.intervals import Share
from benchmarks.judge.noise import SYNTHETIC
from benchmarks.judge.rivals.medians import LAST_SEVEN

ROWS = st.lists(st.sampled_from([0, 0, 0, 0, 1, -1]), min_size=40, max_size=40)


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_an_alarm_is_a_night_that_fires_after_fourteen_that_did_not(rows: list[list[int]]) -> None:
    either, upwards = false_alarms(np.array(rows, dtype=np.int8))
    assert either.count == sum(
        row[night] != 0 and not any(row[max(0, night - 14) : night]) for row in rows for night in range(40)
    )
    assert upwards.count == sum(
        row[night] == 1 and 1 not in row[max(0, night - 14) : night] for row in rows for night in range(40)
    )
    assert either.total == upwards.total == 40 * len(rows)


def test_a_step_is_found_by_the_night_that_says_so_the_right_way() -> None:
    fired = np.zeros((5, QUIET + WITHIN[-1]), dtype=np.int8)
    fired[0, QUIET] = 1
    fired[1, QUIET + 2] = 1
    fired[2, QUIET + 1] = -1  # the wrong way
    fired[3, 3] = -1  # rang before the step
    fired[3, QUIET] = 1
    steps = found(fired, np.ones(5, dtype=np.int8))
    assert [(steps.by[within].count, steps.by[within].total) for within in WITHIN] == [
        *((1, 4), (1, 4), (2, 4), (2, 4), (2, 4))
    ]
    assert steps.median is None
    assert found(fired[:2], np.ones(2, dtype=np.int8)).median == 2.0


def test_half_the_steps_go_up_and_half_down() -> None:
    values, sign = stepped(SYNTHETIC[0], np.random.default_rng(1), 400, 0.1)
    ratio = values[:, 60:].mean(axis=1) / values[:, :60].mean(axis=1)
    assert ratio[sign == 1].mean() == pytest.approx(1.1, abs=0.005)
    assert ratio[sign == -1].mean() == pytest.approx(0.9, abs=0.005)
    assert (sign == 1).sum() == 200


def test_wilson() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: method 3.
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert Share(15, 148).interval == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert Share(0, 20).interval == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert Share(0, 0).percent() == "-"


def test_a_rule_is_measured_by_what_it_says() -> None:
    result = measure(LAST_SEVEN, SYNTHETIC[0], 5, 50, (0.5,))
    assert result.false.total == 50 * 80
    assert result.false.count <= 3
    assert (result.steps[0.5].by[1].count, result.steps[0.5].median) == (result.steps[0.5].by[1].total, 1.0)
    assert young(LAST_SEVEN, SYNTHETIC[0], 5, 50).total == 50 * 30
