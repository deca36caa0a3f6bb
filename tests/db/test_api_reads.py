"""Pages together are the whole, in order, whatever their size; filters admit what they say."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from db.api_reads import GoodNight, MeasurementFilter, RunFilter, SeriesFilter
from db.api_store import ApiStore
from nightbench.access import NotFound
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.judge.alert import AlertKind
from nightbench.judge.series import Metric, NightPoint, SeriesKey
from nightbench.record import MeasurementRecord, RunStarted
from tests.db.conftest import DAWN, case, make_night, measurement

NIGHTS = [f"night-{number}" for number in range(5)]


@pytest.fixture
def store(url: str) -> Iterator[ApiStore]:
    with ApiStore(url) as opened:
        for number, name in enumerate(NIGHTS):
            # The last two begin at one moment.
            started = DAWN + timedelta(days=min(number, 3))
            records = [record for record in make_night(name, 3, started) if not isinstance(record, MeasurementRecord)]
            cells = [measurement(name, f"c{cell}", case=case(batch=1 + cell), started_at=started) for cell in range(3)]
            opened.ingest([*records, *cells])
            points = [
                NightPoint(SeriesKey("smoke", case(batch=batch).fingerprint, metric), Estimate(float(number)))
                for batch in (1, 2)
                for metric in (Metric.THROUGHPUT_RPS, Metric.LATENCY_P50_NS)
            ]
            opened.put_points(name, points)
        yield opened


def _all(page: Callable[..., list[object]], name: Callable[[object], object], size: int) -> list[object]:
    found: list[object] = []
    after = None
    while part := page(size, after):
        found += part
        after = name(part[-1])
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_of_runs_are_the_whole(store: ApiStore, size: int) -> None:
    found = _all(lambda limit, after: store.runs_page(RunFilter(), limit, after), lambda night: night.run_id, size)
    assert [night.run_id for night in found] == NIGHTS[::-1]
    assert found == store.history(10)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_pages_of_measurements_are_the_whole(store: ApiStore, size: int) -> None:
    found = _all(
        lambda limit, after: store.measurements_page(MeasurementFilter(), limit, after),
        lambda each: (each.run_id, each.cell_id),
        size,
    )
    assert [(each.run_id, each.cell_id) for each in found] == [(n, f"c{c}") for n in NIGHTS[::-1] for c in (2, 1, 0)]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_pages_of_series_are_the_whole(store: ApiStore, size: int) -> None:
    found = _all(
        lambda limit, after: store.series_page(SeriesFilter(), limit, after),
        lambda each: (each.run_id, each.fingerprint, each.metric),
        size,
    )
    assert len(found) == len({(each.run_id, each.fingerprint, each.metric) for each in found}) == 20
    assert [each.value for each in found] == sorted((each.value for each in found), reverse=True)


def test_a_measurement_is_read_as_it_was_stored(store: ApiStore) -> None:
    doubt = Doubt(Reason.FOREIGN_LOAD, "30 %")
    store.ingest([measurement("night-0", "doubted", doubts=(doubt,), started_at=DAWN)])
    (read,) = store.measurements_page(MeasurementFilter(run_id="night-0", doubted=True), 10)
    stored = measurement("night-0", "doubted")
    assert (read.cell_id, read.suite, read.fingerprint) == ("doubted", "smoke", case().fingerprint)
    assert (read.throughput_rps, read.latency_ns, read.counts) == (
        stored.throughput_rps,
        stored.latency_ns,
        stored.counts,
    )
    assert (read.load, read.options) == ({"kind": "closed", "concurrency": 4}, dict(case().options))
    assert (read.doubted, read.doubts) == (True, (doubt,))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RunFilter(suite="smoke"), NIGHTS[::-1]),
        (RunFilter(suite="other"), []),
        (RunFilter(status="completed"), NIGHTS[::-1]),
        (RunFilter(status="unfinished"), []),
        (RunFilter(hardware="2 cpus", since=DAWN + timedelta(days=3)), ["night-4", "night-3"]),
        (RunFilter(until=DAWN + timedelta(days=1)), ["night-0"]),
    ],
)
def test_runs_are_filtered(store: ApiStore, wanted: RunFilter, expected: list[str]) -> None:
    assert [night.run_id for night in store.runs_page(wanted, 10)] == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"batch": 2}, 5),
        ({"server": "onnxruntime", "model": "resnet50", "format": "onnx", "precision": "fp32"}, 15),
        ({"protocol": "kserve-http"}, 0),
        ({"fingerprint": case(batch=3).fingerprint}, 5),
        ({"run_id": "night-2", "doubted": False}, 3),
        ({"since": DAWN + timedelta(days=3)}, 6),
    ],
)
def test_measurements_are_filtered(store: ApiStore, changes: dict[str, object], expected: int) -> None:
    assert len(store.measurements_page(MeasurementFilter(**changes), 100)) == expected


def test_a_page_after_something_unknown_is_refused(store: ApiStore) -> None:
    with pytest.raises(NotFound, match="no run 'x'"):
        store.runs_page(RunFilter(), 10, "x")
    with pytest.raises(NotFound, match="no run 'x'"):
        store.measurements_page(MeasurementFilter(), 10, ("x", "c0"))
    with pytest.raises(NotFound, match="no run 'x'"):
        store.series_page(SeriesFilter(), 10, ("x", "f", "m"))
    with pytest.raises(NotFound, match="no run 'x'"):
        store.run("x")


def test_how_things_stand(store: ApiStore) -> None:
    assert [night.run_id for night in store.newest_runs()] == ["night-4"]
    # Every one of these nights has a missing cell.
    assert store.newest_good() == []
    good = [record for record in make_night("good", 2, DAWN) if record.kind != "missing"]
    store.ingest(good)
    assert store.newest_good() == [GoodNight("smoke", "2 cpus", "good", DAWN)]
    store.ingest([RunStarted("going", "nightly", 1, DAWN, "2 cpus", {}, "", 9)])
    assert [(night.run_id, night.status) for night in store.newest_runs()] == [
        ("going", None),
        ("night-4", "completed"),
    ]
    assert store.live_alerts() == dict.fromkeys(AlertKind, 0)


def test_each_kind_of_machine_has_its_own_newest_runs(store: ApiStore) -> None:
    other = [
        replace(record, hardware="8 cpus") if isinstance(record, RunStarted) else record
        for record in make_night("other", 2, DAWN)
        if record.kind != "missing"
    ]
    store.ingest(other)
    assert [(night.hardware, night.run_id) for night in store.newest_runs()] == [
        ("2 cpus", "night-4"),
        ("8 cpus", "other"),
    ]
    assert store.newest_good() == [GoodNight("smoke", "8 cpus", "other", DAWN)]


def test_suites_without_a_run_in_90_days_are_left_out_and_good_nights_of_others_are_not(store: ApiStore) -> None:
    old = DAWN - timedelta(days=100)
    store.ingest([record for record in make_night("good", 2, old) if record.kind != "missing"])
    store.ingest([RunStarted("old", "custom-0123", 1, old, "2 cpus", {}, "", 9)])
    # A clock that is wrong makes nobody old.
    store.ingest([RunStarted("future", "nightly", 1, datetime.now(UTC) + timedelta(days=900), "2 cpus", {}, "", 9)])
    assert [night.run_id for night in store.newest_runs()] == ["future", "night-4"]
    assert [(night.suite, night.started_at) for night in store.newest_good()] == [("smoke", old)]


def test_ends_are_of_runs_that_are_known(store: ApiStore) -> None:
    store.ingest([RunStarted("going", "nightly", 1, DAWN, "2 cpus", {}, "", 9)])
    found = store.ends(["night-0", "going", "unknown"])
    assert found == {"night-0": store.run("night-0").finished_at, "going": None}
    assert store.ends([]) == {}
