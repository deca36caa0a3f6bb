"""A night's sums by server and its doubts by reason are right at every moment: before, between and after roll-ups."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from db.maintenance import maintain
from db.retention import Keep
from db.store import Store
from nightbench.figures import Estimate
from nightbench.judge.series import Metric, NightPoint, SeriesKey
from nightbench.load import OpenLoop
from nightbench.record import MeasurementRecord, Record
from tests.db.conftest import case

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RUN = "20261119-023000-smoke-cd34"
OLD = "20210305-023000-smoke-ab12"
OLD_START = datetime(2021, 3, 5, 2, 30, tzinfo=UTC)
FOREVER = Keep(None, None)
Night = Callable[..., list[Record]]
_SUMS = "SELECT run_id, server, ok_count, failed_count FROM server_nights ORDER BY 1, 2"
_DOUBTS = "SELECT run_id, night, suite, hardware, server, reason, series FROM doubt_nights ORDER BY 1, 5, 6"


def _rows(store: Store, query: str) -> list[tuple[object, ...]]:
    with store.statements() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def _point(batch: int, metric: Metric, *doubts: str) -> NightPoint:
    return NightPoint(SeriesKey("smoke", case(batch=batch).fingerprint, metric), Estimate(90.0), doubts)


def _doubts(store: Store) -> dict[object, object]:
    """How many series by reason."""
    return dict(_rows(store, "SELECT reason, series FROM doubt_nights"))


def test_requests_are_summed_by_server_and_night_whatever_is_rolled_up(
    store: Store, night: Night, measurement: Callable[..., MeasurementRecord]
) -> None:
    store.ingest(night(RUN))
    first = [(RUN, "onnxruntime", 1800, 8)]
    assert _rows(store, _SUMS) == first
    maintain(store, NOW, FOREVER)
    assert _rows(store, "SELECT * FROM night_servers") == first
    assert _rows(store, _SUMS) == first
    store.ingest([measurement(RUN, "late", counts={"ok": 100, "timeout": 2})])
    assert _rows(store, "SELECT * FROM night_servers") == []
    added = [(RUN, "onnxruntime", 1900, 10)]
    assert _rows(store, _SUMS) == added
    maintain(store, NOW, FOREVER)
    assert _rows(store, "SELECT * FROM night_servers") == added
    assert _rows(store, _SUMS) == added


def test_a_series_is_doubted_once_for_each_reason_however_many_figures_are(store: Store, night: Night) -> None:
    store.ingest(night(RUN))
    store.put_points(
        RUN,
        [
            _point(1, Metric.THROUGHPUT_RPS, "bimodal", "foreign_load", "bimodal"),
            _point(1, Metric.LATENCY_P50_NS, "bimodal"),
            _point(2, Metric.THROUGHPUT_RPS, "bimodal"),
            _point(2, Metric.LATENCY_P50_NS),
        ],
    )
    ((began,),) = _rows(store, "SELECT started_at FROM runs")
    of = (RUN, began, "smoke", "2 cpus", "onnxruntime")
    assert _rows(store, _DOUBTS) == [(*of, "bimodal", 2), (*of, "foreign_load", 1)]


@pytest.mark.parametrize("anew", [[], [_point(2, Metric.THROUGHPUT_RPS, "drift")]])
def test_points_put_in_place_of_others_bring_their_own_doubts(
    store: Store, night: Night, anew: Sequence[NightPoint]
) -> None:
    store.ingest(night(RUN))
    store.put_points(RUN, [_point(1, Metric.THROUGHPUT_RPS, "bimodal")])
    assert _doubts(store) == {"bimodal": 1}
    store.put_points(RUN, anew)
    assert _doubts(store) == {reason: 1 for point in anew for reason in point.doubts}


def test_what_is_added_to_a_night_leaves_the_doubts_of_its_points(
    store: Store, night: Night, measurement: Callable[..., MeasurementRecord]
) -> None:
    store.ingest(night(RUN))
    store.put_points(RUN, [_point(1, Metric.THROUGHPUT_RPS, "bimodal")])
    store.ingest([measurement(RUN, "late", case=case(load=OpenLoop(20.0)))])
    assert _doubts(store) == {"bimodal": 1}
    maintain(store, NOW, FOREVER)
    assert _doubts(store) == {"bimodal": 1}


def test_sums_and_doubts_outlive_the_measurements(store: Store, night: Night) -> None:
    store.ingest(night(OLD, started_at=OLD_START))
    store.put_points(OLD, [_point(1, Metric.THROUGHPUT_RPS, "bimodal")])
    sums, doubts = _rows(store, _SUMS), _rows(store, _DOUBTS)
    maintain(store, NOW, Keep(90, 400))
    assert _rows(store, "SELECT count(*) FROM measurements") == [(0,)]
    assert (_rows(store, _SUMS), _rows(store, _DOUBTS)) == (sums, doubts)
    assert sums
    assert doubts
