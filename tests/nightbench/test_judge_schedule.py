"""A night that did not happen is missed; a night that is late, long or not habitual is not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.judge.alert import AlertKind
from nightbench.judge.schedule import Ran, missing_night, next_due

# A Monday.
FIRST = datetime(2026, 10, 5, 2, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def ran(start: datetime, status: str | None = "completed", took: timedelta = 4 * HOUR) -> Ran:
    return Ran(f"{start:%Y%m%d}-nightly", start, start + took if status else None, status)


def nights(count: int = 10, every: timedelta = DAY) -> list[Ran]:
    return [ran(FIRST + number * every) for number in range(count)]


LAST = FIRST + 9 * DAY


@pytest.mark.parametrize(
    ("later", "missing"), [(1.4 * DAY, False), (1.51 * DAY, True), (30 * DAY, True), (0 * DAY, False)]
)
def test_a_night_is_missing_half_an_interval_after_it_was_due(later: timedelta, missing: bool) -> None:
    found = missing_night("nightly", nights(), LAST + later)
    assert (found is not None) == missing


def test_what_is_missing_is_said_with_when_and_since_when() -> None:
    found = missing_night("nightly", nights(), LAST + 2 * DAY)
    assert found is not None
    assert (found.kind, found.subject, found.title) == (
        AlertKind.MISSING_NIGHT,
        "nightly",
        "nightly: no night began",
    )
    assert found.detail == (
        "It was due at 2026-10-15 02:00 UTC, 24 h ago; the last one to complete is 20261014-nightly."
    )


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (None, "nightly: the night of 2026-10-15 02:00 UTC never finished, run 20261015-nightly"),
        ("failed", "nightly: the night of 2026-10-15 02:00 UTC failed, run 20261015-nightly"),
    ],
)
def test_a_night_that_began_and_came_to_nothing_is_missing(status: str | None, title: str) -> None:
    found = missing_night("nightly", [*nights(), ran(LAST + DAY, status)], LAST + 1.6 * DAY)
    assert found is not None
    assert found.title == title


def test_a_night_that_began_late_is_given_the_time_to_finish() -> None:
    late = [*nights(), ran(LAST + 1.4 * DAY, None)]
    assert missing_night("nightly", late, LAST + 1.4 * DAY + 7 * HOUR) is None
    assert missing_night("nightly", late, LAST + 1.4 * DAY + 9 * HOUR) is not None


def test_a_night_that_somebody_cancelled_is_not_missing_but_the_next_one_is() -> None:
    cancelled = [*nights(), ran(LAST + DAY, "cancelled")]
    assert missing_night("nightly", cancelled, LAST + 2.4 * DAY) is None
    assert missing_night("nightly", cancelled, LAST + 2.6 * DAY) is not None


def test_weekends_are_no_missing_nights_and_a_missing_monday_is_one() -> None:
    weekdays = [ran(FIRST + number * DAY) for number in range(19) if number % 7 < 5]
    friday = weekdays[-1].started_at
    assert friday.weekday() == 4
    assert missing_night("nightly", weekdays, friday + 3.4 * DAY) is None
    assert missing_night("nightly", weekdays, friday + 4.6 * DAY) is not None
    thursday = weekdays[:-1]
    assert missing_night("nightly", thursday, friday + 0.6 * DAY) is not None


@pytest.mark.parametrize(
    "runs",
    [
        [],
        nights(5),
        nights(10, every=timedelta(minutes=10)),
        [ran(FIRST + days * DAY) for days in (0, 1, 5, 6, 20, 21, 21.2, 40)],
        [ran(FIRST + number * DAY, "failed") for number in range(10)],
    ],
    ids=["none", "few", "by hand", "irregular", "none completed"],
)
def test_a_suite_without_the_habit_is_not_missed(runs: Sequence[Ran]) -> None:
    assert missing_night("nightly", runs, FIRST + 60 * DAY) is None


def test_a_schedule_knows_better_than_habit() -> None:
    due = LAST + 7 * DAY
    assert missing_night("nightly", nights(), LAST + 10 * DAY, due) is None
    assert missing_night("nightly", nights(), LAST + 11 * DAY, due) is not None
    assert missing_night("nightly", nights(2), FIRST + 10 * DAY, FIRST + 2 * DAY) is not None


@given(
    st.integers(6, 40),
    st.floats(3600, 1e6),
    st.lists(st.floats(-0.05, 0.05), min_size=40, max_size=40),
)
def test_the_usual_interval_is_found_through_jitter(count: int, every_s: float, jitter: list[float]) -> None:
    every = timedelta(seconds=every_s)
    starts = [FIRST + (number + late) * every for number, late in zip(range(count), jitter, strict=False)]
    due = next_due(starts)
    if every >= 1.2 * HOUR:
        assert due is not None
    if due is not None:
        assert 0.89 * every <= due - starts[-1] <= 1.11 * every
