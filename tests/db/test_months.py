"""Rows lie in the month of their run, each once, whatever came first and whatever was dropped since."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from db.maintenance import maintain
from db.months import make_months, month_of, months_from, months_of
from db.retention import Keep
from db.store import Store
from flows.commands.common import whole_records
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.series import Metric, NightPoint, SeriesKey
from nightbench.record import MeasurementRecord, MissingRecord, Record, RunFinished, RunStarted
from tasks.session import new_run_id

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OLD = "20210305-023000-smoke-ab12"
YOUNG = "20261119-023000-smoke-cd34"
Night = Callable[..., list[Record]]
FOREVER = Keep(None, None)


def _rows(store: Store, query: str) -> list[tuple[object, ...]]:
    with store.statements() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def _lies_in(store: Store, table: str, run_id: str) -> set[str]:
    where = f"SELECT DISTINCT tableoid::regclass::text FROM {table} WHERE run_id = '{run_id}'"  # noqa: S608 - ours
    rows = _rows(store, where)
    return {str(name) for (name,) in rows}


def _measured(store: Store, run_id: str) -> list[Record]:
    return store.records(run_id, MeasurementRecord)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2999, 11, 30)), st.sampled_from(["smoke", "nightly-2"]))  # noqa: DTZ001
def test_a_runs_id_says_its_month(now: datetime, suite: str) -> None:
    assert month_of(new_run_id(suite, now)) == date(now.year, now.month, 1)


@pytest.mark.parametrize(
    "run_id", ["", "night-1", "20261320-000000-x", "19991201-000000-x", "29991201-x", "2026-11-20"]
)
def test_an_id_without_a_time_has_no_month(run_id: str) -> None:
    assert month_of(run_id) is None


def test_months_are_counted_both_ways() -> None:
    assert list(months_from(date(2026, 11, 30), 3)) == [date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]
    assert list(months_from(date(2026, 1, 30), -2)) == [date(2025, 12, 1), date(2026, 1, 1)]


def test_a_night_makes_its_month_and_comes_in_once(store: Store, night: Night) -> None:
    assert store.ingest(night(YOUNG)).known == 0
    assert _lies_in(store, "measurements", YOUNG) == {"months.measurements_2026_11"}
    assert _lies_in(store, "telemetry", YOUNG) == {"months.telemetry_2026_11"}
    again = store.ingest(night(YOUNG))
    assert (again.new, again.refused) == (0, ())
    assert store.history()[0].measured == 2


def test_a_run_over_midnight_of_a_months_last_day_stays_together(
    store: Store, measurement: Callable[..., MeasurementRecord]
) -> None:
    run_id = "20261031-233000-smoke-ab12"
    late = measurement(run_id, "c0", started_at=datetime(2026, 11, 1, 2, tzinfo=UTC))
    assert store.ingest([late]).new == 1
    assert store.ingest([replace(late, started_at=late.started_at + timedelta(hours=1))]).new == 0
    assert _lies_in(store, "measurements", run_id) == {"months.measurements_2026_10"}


def test_a_run_without_a_time_lies_beside_the_months(store: Store, night: Night) -> None:
    store.ingest(night("by-hand"))
    assert _lies_in(store, "measurements", "by-hand") == {"months.measurements_other"}
    assert store.ingest(night("by-hand")).new == 0


def test_what_waited_beside_the_months_moves_into_its_own(
    store: Store, measurement: Callable[..., MeasurementRecord]
) -> None:
    # Between the months' bounds, yet no id of ours, so that nobody made its month.
    odd = "202702xx"
    store.ingest([measurement(odd, "c0")])
    assert _lies_in(store, "measurements", odd) == {"months.measurements_other"}
    before = _measured(store, odd)
    with store.alone() as connection:
        assert make_months(connection, [date(2027, 2, 1)]) == [date(2027, 2, 1)]
        assert make_months(connection, [date(2027, 2, 1)]) == []
    assert _lies_in(store, "measurements", odd) == {"months.measurements_2027_02"}
    assert _lies_in(store, "telemetry", odd) == {"months.telemetry_2027_02"}
    assert _measured(store, odd) == before


def test_telemetry_still_needs_its_measurement(store: Store, night: Night) -> None:
    store.ingest(night(YOUNG))
    with pytest.raises(Exception, match="violates foreign key"), store.alone() as connection:
        connection.execute(text("DELETE FROM measurements"))


def test_maintenance_makes_months_ahead_and_changes_nothing_the_second_time(store: Store, night: Night) -> None:
    store.ingest(night(YOUNG))
    first = maintain(store, NOW)
    assert first[:2] == ["partition for 2026-12 made", "partition for 2027-01 made"]
    assert first[2] == "1 nights rolled up"
    assert maintain(store, NOW) == ["vacuumed and analyzed"]
    with store.alone() as connection:
        assert months_of(connection, "telemetry") == list(months_from(NOW.date(), 3))


def _figures(run_id: str, night: Night) -> list[NightPoint]:
    timed = next(each for each in night(run_id) if isinstance(each, MeasurementRecord))
    return [NightPoint(SeriesKey("smoke", timed.case.fingerprint, Metric.THROUGHPUT_RPS), Estimate(90.0, 88.5, 91.25))]


def test_what_is_too_old_goes_and_its_roll_ups_stay(store: Store, night: Night) -> None:
    start = datetime(2021, 3, 5, 2, 30, tzinfo=UTC)
    store.ingest(night(OLD, started_at=start))
    store.ingest(night(YOUNG))
    store.put_points(OLD, _figures(OLD, night))
    seen = store.history()
    nights = _rows(store, "SELECT * FROM series_nights ORDER BY run_id, fingerprint")
    trend = _rows(store, "SELECT * FROM series_trend")
    status = "SELECT night, planned, measured, missing, doubted, failed_deployments FROM night_status ORDER BY 1"
    was = _rows(store, status)

    assert any("telemetry of 2021-03" in line for line in maintain(store, NOW, Keep(90, None)))
    assert len(_measured(store, OLD)) == 2
    assert all(not each.telemetry for each in _measured(store, OLD) if isinstance(each, MeasurementRecord))

    assert any("measurements of 2021-03" in line for line in maintain(store, NOW, Keep(90, 400)))
    assert _measured(store, OLD) == []
    assert len(_measured(store, YOUNG)) == 2
    assert store.history() == seen
    assert _rows(store, "SELECT * FROM series_nights ORDER BY run_id, fingerprint") == nights
    assert _rows(store, "SELECT * FROM series_trend") == trend
    assert _rows(store, status) == was
    assert _rows(store, "SELECT run_id FROM night_status WHERE raw_dropped") == [(OLD,)]


def test_a_night_without_its_cells_is_no_night_of_missing_ones(store: Store, night: Night) -> None:
    store.ingest(night(OLD))
    assert not store.was_retired(OLD)
    assert whole_records(store, OLD)
    maintain(store, NOW, Keep(None, 365))
    with pytest.raises(UsageError, match="were dropped by age"):
        whole_records(store, OLD)


def test_an_old_spool_does_not_bring_back_what_was_dropped(store: Store, night: Night) -> None:
    records = night(OLD, started_at=datetime(2021, 3, 5, 2, 30, tzinfo=UTC))
    store.ingest(records)
    before = store.history()
    maintain(store, NOW, Keep(90, 400))
    again = store.ingest(records)
    assert (again.new, again.known) == (0, len(records))
    assert _measured(store, OLD) == []
    assert store.history() == before


def test_runs_without_a_time_grow_old_as_well(store: Store, night: Night) -> None:
    store.ingest(night("by-hand", started_at=datetime(2021, 3, 5, tzinfo=UTC)))
    store.ingest(night("young"))
    before = store.history()
    maintain(store, NOW, Keep(90, 400))
    assert _measured(store, "by-hand") == []
    assert len(_measured(store, "young")) == 2
    assert store.history() == before


def test_telemetry_goes_with_its_measurements_at_the_latest(store: Store, night: Night) -> None:
    store.ingest(night(OLD, started_at=datetime(2021, 3, 5, 2, 30, tzinfo=UTC)))
    maintain(store, NOW, Keep(None, 400))
    assert _rows(store, "SELECT count(*) FROM telemetry") == [(0,)]


def test_a_months_last_day_decides(store: Store, night: Night) -> None:
    store.ingest(night("20261001-023000-smoke-ab12", started_at=datetime(2026, 10, 1, 2, 30, tzinfo=UTC)))
    maintain(store, datetime(2026, 12, 1, tzinfo=UTC), Keep(None, 31))
    assert len(_measured(store, "20261001-023000-smoke-ab12")) == 2
    maintain(store, datetime(2026, 12, 2, tzinfo=UTC), Keep(None, 31))
    assert _measured(store, "20261001-023000-smoke-ab12") == []


def test_what_is_added_to_a_rolled_up_night_counts(
    store: Store, night: Night, measurement: Callable[..., MeasurementRecord]
) -> None:
    store.ingest(night(YOUNG))
    maintain(store, NOW, FOREVER)
    late = measurement(YOUNG, "late", round=1, throughput_rps=Estimate(180.0, 179.0, 181.0))
    store.ingest([late])
    assert store.history()[0].measured == 3
    query = "SELECT rounds, throughput_rps FROM series_nights WHERE batch = 1"
    assert _rows(store, query) == [(2, 135.0)]
    assert maintain(store, NOW, FOREVER)[0] == "1 nights rolled up"
    assert _rows(store, query) == [(2, 135.0)]
    assert _rows(store, "SELECT measured FROM night_rollups") == [(3,)]


def test_a_night_that_runs_is_not_rolled_up_and_one_that_was_killed_is(store: Store) -> None:
    store.ingest([RunStarted(YOUNG, "smoke", 7, NOW - timedelta(hours=9), "2 cpus", {}, "", 1)])
    store.ingest([RunStarted(OLD, "smoke", 7, NOW - timedelta(days=3), "2 cpus", {}, "", 1)])
    maintain(store, NOW, FOREVER)
    assert _rows(store, "SELECT run_id FROM night_rollups") == [(OLD,)]


def test_the_latest_is_the_newest_whatever_came_last(
    store: Store, measurement: Callable[..., MeasurementRecord]
) -> None:
    newer = measurement(YOUNG, "c0", started_at=NOW)
    older = measurement(OLD, "c0", started_at=NOW - timedelta(days=900))
    store.ingest([newer])
    store.ingest([older])
    assert _rows(store, "SELECT run_id FROM latest_measurements") == [(YOUNG,)]
    store.ingest([replace(newer, cell_id="c1", started_at=NOW + timedelta(hours=1)), older])
    assert _rows(store, "SELECT cell_id FROM latest_measurements") == [("c1",)]


def test_a_gap_of_a_dropped_night_stays_filled(store: Store, night: Night) -> None:
    records = night(OLD, started_at=datetime(2021, 3, 5, 2, 30, tzinfo=UTC))
    timed = next(each for each in records if isinstance(each, MeasurementRecord))
    gone = next(each for each in records if isinstance(each, MissingRecord))
    store.ingest([*records, replace(gone, cell_id=timed.cell_id)])
    maintain(store, NOW, Keep(90, 400))
    store.ingest([replace(gone, cell_id=timed.cell_id)])
    assert store.history()[0].missing == 1


def test_a_resumed_night_is_rolled_up_anew(store: Store, measurement: Callable[..., MeasurementRecord]) -> None:
    start = RunStarted(YOUNG, "smoke", 7, NOW - timedelta(hours=9), "2 cpus", {}, "", 2)
    store.ingest([start, measurement(YOUNG, "c0"), RunFinished(YOUNG, NOW, "failed", {})])
    maintain(store, NOW, FOREVER)
    store.ingest([measurement(YOUNG, "c1"), RunFinished(YOUNG, NOW + timedelta(hours=1), "completed", {})])
    assert store.history()[0].measured == 2
    maintain(store, NOW, FOREVER)
    assert store.history()[0].measured == 2
