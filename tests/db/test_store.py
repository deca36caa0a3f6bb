"""What goes into the database comes out equal, once, and a record it cannot take costs no other."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db import embedded
from db.engine import open_engine
from db.errors import DatabaseDown
from db.judge_tables import gate_findings, kits, run_kits, trials
from db.measurement_tables import cases, measurements, telemetry
from db.store import Store
from db.tables import artifacts, deployments, missing_cells, parity, run_artifacts, runs, wire_parity
from nightbench.errors import UsageError
from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, SearchStep, StreamFigures
from nightbench.load import Arrival, ClosedLoop, EndedBy, Goal, OpenLoop, PeakShare, Search, Trace
from nightbench.record import (
    ArtifactRecord,
    CalibrationRecord,
    Case,
    DeploymentRecord,
    GateRecord,
    KitRecord,
    MeasurementRecord,
    MissingRecord,
    ParityRecord,
    Record,
    RunFinished,
    RunStarted,
    TrialRecord,
    WireParityRecord,
)
from tests.db.any_record import records_of
from tests.db.conftest import case

Night = Callable[..., list[Record]]
RUN_NUMBERS = count()


def _same(left: list[Record], right: list[Record]) -> bool:
    """Equal but for order; by their sorted fields, because NaN differs from itself."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [(field.name, plain(getattr(value, field.name))) for field in dataclasses.fields(value)]
            return type(value).__name__, fields
        if isinstance(value, dict):
            return sorted((key, plain(item)) for key, item in value.items())
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        if isinstance(value, datetime):
            return value.timestamp()
        # Postgres's JSON knows no negative zero, which equals zero but is not written alike.
        return float(value) + 0.0 if isinstance(value, int | float) and not isinstance(value, bool) else value

    return sorted(repr(plain(item)) for item in left) == sorted(repr(plain(item)) for item in right)


def test_a_night_comes_back_equal_and_only_once(store: Store, night: Night) -> None:
    records = night()
    first = store.ingest(records)
    assert (first.new, first.known, first.refused) == (len(records), 0, ())
    again = store.ingest(records + records)
    assert (again.new, again.known) == (0, 2 * len(records))
    assert _same(store.records("night-1"), records)
    assert store.records("night-2") == []


# One database serves all examples: each has a run of its own.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_record_comes_back_equal(store: Store, data: st.DataObject) -> None:
    run_id = f"run-{next(RUN_NUMBERS)}"
    records = data.draw(records_of(run_id))
    assert store.ingest(records).refused == ()
    assert _same(store.records(run_id), records)


@pytest.mark.parametrize(
    ("record", "tables"),
    [
        (RunStarted, [runs]),
        (RunFinished, [runs]),
        (ParityRecord, [parity]),
        (ArtifactRecord, [artifacts, run_artifacts]),
        (WireParityRecord, [wire_parity]),
        (DeploymentRecord, [deployments]),
        (Case, [cases]),
        (MissingRecord, [missing_cells]),
        (KitRecord, [kits, run_kits]),
        (GateRecord, [gate_findings]),
        (TrialRecord, [trials]),
    ],
)
def test_every_field_has_its_column(record: Any, tables: list[Any]) -> None:
    """Whoever adds a field to a record learns here that the tables need a step too."""
    columns = {column.name for table in tables for column in table.columns} | {"kind", "load"}
    assert {field.name for field in dataclasses.fields(record)} <= columns


def test_a_record_out_of_bounds_costs_itself_alone(store: Store, night: Night, measurement: Any) -> None:
    beyond = measurement("night-1", "beyond", throughput_rps=Estimate(10.0, 11.0, 12.0))
    garbled = measurement("night-1", "garbled", histogram="not base64!")
    too_big = measurement("night-1", "too-big", warmup_ns=2**70)
    records = night()
    done = store.ingest([beyond, *records, garbled, too_big])
    assert (done.new, done.known, len(done.refused)) == (len(records), 0, 3)
    assert done.refused[0].record.startswith("measurement night-1 beyond")
    assert "throughput_interval" in done.refused[0].reason
    assert store.cell_ids("night-1") == {"c0", "c1", "gone"}


def test_records_whose_run_or_deployment_was_lost_are_kept_and_found_later(store: Store, night: Night) -> None:
    records = night()
    lost = [record for record in records if isinstance(record, RunStarted | DeploymentRecord | ArtifactRecord)]
    rest = [record for record in records if record not in lost]
    assert store.ingest(rest).refused == ()
    assert _same(store.records("night-1"), rest)
    (orphan,) = store.history()
    assert (orphan.suite, orphan.measured, orphan.status) == ("unknown", 2, "completed")
    assert store.ingest(lost).new == len(lost)
    assert _same(store.records("night-1"), records)


def test_a_cell_written_twice_keeps_its_first_figures(store: Store, measurement: Any) -> None:
    first = measurement("night-1", "c0", telemetry=())
    second = measurement("night-1", "c0", throughput_rps=Estimate(1.0))
    assert store.ingest([first, second]).new == 1
    store.ingest([second])
    assert store.records("night-1") == [first]


def test_a_resumed_run_ends_with_its_last_end(store: Store, night: Night) -> None:
    *_, end = night()
    assert isinstance(end, RunFinished)
    earlier = dataclasses.replace(end, finished_at=end.finished_at - timedelta(hours=1), status="cancelled")
    assert store.ingest([earlier, end]).new == 2
    assert store.ingest([end, earlier]).known == 2
    assert store.records("night-1") == [end]


def test_a_nul_in_a_log_does_not_cost_the_record(store: Store, night: Night) -> None:
    died = next(record for record in night() if isinstance(record, DeploymentRecord))
    store.ingest([dataclasses.replace(died, log_tail="a\0b \\u0000 c\\\0")])
    (back,) = store.records("night-1")
    assert isinstance(back, DeploymentRecord)
    assert back.log_tail == "a\ufffdb \\u0000 c\\\ufffd"


def test_history_counts_and_orders_nights(store: Store, night: Night, measurement: Any) -> None:
    monday = datetime(2026, 11, 16, 3, tzinfo=UTC)
    store.ingest(night("a-monday", started_at=monday)[:-1])
    store.ingest(night("a-tuesday", started_at=monday + timedelta(days=1)))
    store.ingest([measurement("a-tuesday", "late", doubts=(Doubt(Reason.LATE_SENDS, "9 %"),))])
    tuesday, before = store.history()
    assert (tuesday.run_id, tuesday.status, tuesday.suite) == ("a-tuesday", "completed", "smoke")
    assert (tuesday.planned, tuesday.measured, tuesday.missing, tuesday.doubted) == (3, 3, 1, 1)
    assert (before.run_id, before.status, before.finished_at) == ("a-monday", None, None)
    assert store.history(limit=1) == [tuesday]
    assert store.history(suite="nightly") == []


def test_a_run_is_meant_by_any_beginning_that_is_its_own(store: Store, night: Night) -> None:
    with pytest.raises(UsageError, match="no run is stored yet"):
        store.run_id("last")
    monday = datetime(2026, 11, 16, 3, tzinfo=UTC)
    for day, name in enumerate(["20261116-ab", "20261116-ac", "20261116-a", "2026%"]):
        store.ingest(night(name, started_at=monday + timedelta(days=day)))
    assert store.run_id("last") == "2026%"
    assert store.run_id("2026%") == "2026%"
    assert store.run_id("20261116-ac") == "20261116-ac"
    assert store.run_id("20261116-a") == "20261116-a"
    with pytest.raises(UsageError, match=r"could be 2026%, 20261116-a, 20261116-ac \.\.\.; write more of it"):
        store.run_id("2026")
    with pytest.raises(UsageError, match="no stored run begins with 'x'"):
        store.run_id("x")


def test_telemetry_and_figures_lie_in_columns(store: Store, url: str, measurement: Any) -> None:
    doubted = measurement("night-1", "c1", doubts=(Doubt(Reason.ERRORS, "4 of 904"),))
    store.ingest([measurement("night-1", "c0"), doubted])
    with open_engine(url, pooled=False).connect() as connection:
        row = connection.execute(measurements.select().where(measurements.c.cell_id == "c1")).one()
        assert (row.ok_count, row.failed_count, row.doubted) == (900, 4, True)
        assert (row.latency_p50_ns, row.latency_p50_low_ns, row.latency_p99_high_ns) == (5e7, 4.5e7, None)
        assert bytes(row.histogram) == bytes(range(256)) * 4
        series = connection.execute(telemetry.select().order_by(telemetry.c.cell_id, telemetry.c.ordinal)).first()
        assert series is not None
        assert (series.metric, series.offset_ms[:2], series.values[1]) == ("cpu_percent", [0, 200], 1 / 3)


TAIL = Doubt(Reason.TOO_FEW_SAMPLES, "9 beyond it", ("p99",))
TAILS = Doubt(Reason.NOT_STATIONARY, "drifts", ("p95", "p99"))
WHOLE = Doubt(Reason.FOREIGN_LOAD, "30 %")


@pytest.mark.parametrize(
    ("doubts", "doubted"),
    [((), False), ((TAIL,), False), ((WHOLE,), True), ((TAIL, WHOLE), True), ((TAIL, TAILS), False)],
)
def test_only_a_doubt_about_the_whole_cell_makes_it_doubted(
    store: Store, url: str, measurement: Any, doubts: tuple[Doubt, ...], doubted: bool
) -> None:
    given = measurement("night-1", "c0", doubts=doubts)
    store.ingest([given])
    assert store.records("night-1") == [given]
    assert store.history()[0].doubted == doubted == any(doubt.whole_cell for doubt in doubts)
    with open_engine(url, pooled=False).connect() as connection:
        assert connection.scalar(text("SELECT doubted FROM latest_measurements")) is doubted


P50, P99 = Estimate(2e7, 1.9e7, 2.1e7), Estimate(9e7, 8e7)
STREAM = StreamFigures(
    {"p50": P50, "p90": P50, "p99": P99},
    {"p50": P50},
    9_000,
    Estimate(88.0, 80.0, 90.0),
    Estimate(5.0),
    {"itl_ms": 9.0},
)
STEPS = tuple(
    SearchStep(ClosedLoop(2**at), Estimate(100.0 * at), {"p99": P99}, 0, EndedBy.PRECISION) for at in range(3)
)


def test_figures_of_streams_and_searches_lie_in_columns(store: Store, url: str, measurement: Any) -> None:
    search = SearchFigures(STEPS, 1, Estimate(100.0, 95.0, None), "it grew no more")
    given = [
        measurement("night-1", "c0", case=case(load=PeakShare(0.7)), stream=STREAM, ended_by=EndedBy.OVER_SATURATED),
        measurement("night-1", "c1", case=case(load=Search(Goal.PEAK)), search=search, pacing="spin"),
    ]
    store.ingest(given)
    assert store.records("night-1") == given
    with open_engine(url, pooled=False).connect() as connection:
        streamed, searched = connection.execute(text("SELECT * FROM measurement_facts ORDER BY cell_id"))
    assert (streamed.load_kind, streamed.peak_share, streamed.ended_by) == ("peak_share", 0.7, "over_saturated")
    assert (streamed.ttft_p50_ns, streamed.ttft_p99_low_ns, streamed.ttft_p99_high_ns) == (2e7, 8e7, None)
    assert (streamed.itl_p50_ns, streamed.itl_p99_ns) == (2e7, None)
    assert (streamed.tokens_low_per_s, streamed.goodput_rps, streamed.answer_rps) == (80.0, 5.0, None)
    assert (searched.load_kind, searched.search_goal, searched.most_concurrent) == ("search", "peak", 256)
    assert (searched.answer_rps, searched.answer_low_rps, searched.answer_high_rps) == (100.0, 95.0, None)
    assert (searched.pacing, searched.tokens_per_s) == ("spin", None)


def test_a_trace_is_kept_by_its_content(store: Store, measurement: Any) -> None:
    load = OpenLoop(20.0, Arrival.TRACE, trace=Trace("/somewhere/arrivals.txt", "ab"))
    given = measurement("night-1", "c0", case=case(load=load))
    store.ingest([given])
    (back,) = store.records("night-1")
    assert back == given
    assert isinstance(back, MeasurementRecord)
    assert isinstance(back.case.load, OpenLoop)
    assert back.case.load.trace == Trace("", "ab")
    assert back.case.fingerprint == given.case.fingerprint


def test_a_round_that_was_calibrated_twice_keeps_both(store: Store, night: Night) -> None:
    first = next(record for record in night() if isinstance(record, CalibrationRecord))
    again = dataclasses.replace(first, started_at=first.started_at + timedelta(hours=1), failure="refused")
    assert store.ingest([again, first, first]).new == 2
    assert store.records("night-1") == [first, again]


@pytest.mark.parametrize(
    "change",
    [
        {"load_kind": "searching"},
        {"concurrency": None},
        {"concurrency": 0},
        {"peak_share": 0.5},
        {"load_kind": "search"},
        {"load_kind": "peak_share", "concurrency": None},
    ],
)
def test_columns_of_one_kind_of_load_do_not_mix_with_another_s(
    store: Store, url: str, measurement: Any, change: dict[str, Any]
) -> None:
    store.ingest([measurement("night-1", "c0")])
    with open_engine(url, pooled=False).connect() as connection, pytest.raises(IntegrityError, match="load_"):
        connection.execute(cases.update().values(change))


def test_views_keep_a_doubted_night_as_a_gap(store: Store, url: str, measurement: Any) -> None:
    doubts = (Doubt(Reason.FOREIGN_LOAD, "30 %"),)
    later = datetime(2026, 11, 21, 3, tzinfo=UTC)
    figures = [Estimate(80.0), Estimate(100.0), Estimate(90.0)]
    good = [measurement("night-1", f"c{n}", round=n, throughput_rps=figure) for n, figure in enumerate(figures)]
    store.ingest([*good, measurement("night-2", "c0", started_at=later, doubts=doubts)])
    with open_engine(url, pooled=False).connect() as connection:
        nights = connection.execute(
            text("SELECT run_id, rounds, doubted_rounds, throughput_rps FROM series_nights ORDER BY run_id")
        )
        assert [tuple(row) for row in nights] == [("night-1", 3, 0, 90.0), ("night-2", 1, 1, None)]
        latest = connection.execute(text("SELECT run_id, doubted FROM latest_measurements"))
        assert [tuple(row) for row in latest] == [("night-2", True)]


def test_a_database_that_goes_away_in_the_middle_keeps_nothing_half(
    store: Store, night: Night, postgres_home: Path
) -> None:
    records = night()

    def interrupted() -> Any:
        yield from records[:4]
        embedded.stop(postgres_home)
        yield from records[4:]

    try:
        with pytest.raises(DatabaseDown, match="does not answer"):
            store.ingest(interrupted())
        with pytest.raises(DatabaseDown):
            store.history()
    finally:
        embedded.start(postgres_home)
    assert store.history() == []
    assert store.ingest(records).new == len(records)
