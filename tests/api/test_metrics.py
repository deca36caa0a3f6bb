"""What Prometheus scrapes, and how far runs that go on have come."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.backlog import Backlog, Waiting
from api.progress import RunProgress, SpoolWatch
from db.errors import DatabaseDown
from db.spool import Spool
from nightbench.access import Role
from nightbench.record import MeasurementRecord, MissingRecord, Record, RunFinished, RunStarted
from tests.api.conftest import DAWN, Site
from tests.db.conftest import make_night


def scraped(site: Site) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = site.client.get("/metrics", headers={"Authorization": f"Bearer {site.keys[Role.VIEWER]}"})
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def figure(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float | None:
    return found.get((f"nightbench_{name}", frozenset(labels.items())))


SMOKE = {"suite": "smoke", "hardware": "2 cpus"}


def test_the_newest_run_of_each_suite_is_told(site: Site) -> None:
    found = scraped(site)
    assert figure(found, "database_up") == 1
    assert figure(found, "last_run_timestamp_seconds", **SMOKE) == DAWN.timestamp()
    assert figure(found, "last_run_duration_seconds", **SMOKE) == 3600
    assert figure(found, "last_run_status", **SMOKE, status="completed") == 1
    assert figure(found, "last_run_status", **SMOKE, status="failed") == 0
    cells = {state: figure(found, "last_run_cells", **SMOKE, state=state) for state in _STATES}
    assert cells == {"planned": 3, "measured": 2, "missing": 1, "doubted": 0}
    assert figure(found, "live_alerts", kind="failed_server") == 1
    assert figure(found, "live_alerts", kind="regression") == 0
    assert figure(found, "newest_good_run_timestamp_seconds", **SMOKE) is None
    later = DAWN + timedelta(days=1)
    good = [record for record in make_night("night-2", 3, later) if not isinstance(record, MissingRecord)]
    site.store.ingest([*good, RunStarted("night-3", "nightly", 1, later, "2 cpus", {}, "", 4)])
    found = scraped(site)
    assert figure(found, "newest_good_run_timestamp_seconds", **SMOKE) == later.timestamp()
    assert figure(found, "last_run_timestamp_seconds", **SMOKE) == later.timestamp()
    assert figure(found, "last_run_status", suite="nightly", hardware="2 cpus", status="unfinished") == 1


_STATES = ("planned", "measured", "missing", "doubted")


def test_requests_are_counted_by_route_and_not_by_what_is_asked(site: Site) -> None:
    for number in range(3):
        site.ask(f"/api/v1/runs/night-{number}")
        site.client.get(f"/nowhere/{number}")
    site.client.request("BREW", "/api/v1/runs")
    found = scraped(site)
    run = {"method": "GET", "route": "/api/v1/runs/{run_id}"}
    assert figure(found, "api_requests_total", **run, status="200") == 1
    assert figure(found, "api_requests_total", **run, status="404") == 2
    assert figure(found, "api_requests_total", method="GET", route="none", status="404") == 3
    assert figure(found, "api_requests_total", method="other", route="/api/v1/runs", status="405") == 1
    assert figure(found, "api_request_duration_seconds_count", **run) == 3


@pytest.fixture
def records() -> list[Record]:
    return make_night("night-7", cells=3)


@pytest.fixture
def spool(tmp_path: Path, records: list[Record]) -> Iterator[Spool]:
    """The spool of a run that has begun and goes on."""
    with Spool.open(tmp_path / "spool", "night-7") as opened:
        opened.append(records[0])
        yield opened


def test_a_run_that_goes_on_is_followed_cell_by_cell(
    site: Site, spool: Spool, records: list[Record], tmp_path: Path
) -> None:
    watch = SpoolWatch(tmp_path / "spool")
    measured, missing = 0, 0

    def expected() -> RunProgress:
        return RunProgress("night-7", "smoke", DAWN, 4, measured, missing)

    assert watch.running() == [expected()]
    for record in records[1:]:
        spool.append(record)
        measured += isinstance(record, MeasurementRecord)
        missing += isinstance(record, MissingRecord)
        assert watch.running() == [expected()]
    # Measured again in a resumed run: one cell all the same.
    spool.append(next(record for record in records if isinstance(record, MeasurementRecord)))
    assert watch.running() == [expected()] == SpoolWatch(tmp_path / "spool").running()
    assert (measured, missing) == (3, 1)
    found = scraped(site)
    assert figure(found, "running_cells", suite="smoke", state="planned") == 4
    assert figure(found, "running_cells", suite="smoke", state="measured") == 3
    assert figure(found, "spool_files") == 1
    assert figure(found, "spool_bytes") == spool.path.stat().st_size
    _, status = site.ask("/api/v1/status")
    assert [run["run_id"] for run in status["going_on"]] == ["night-7"]
    spool.close()
    assert watch.running() == []
    assert scraped(site).keys() & {("nightbench_running_cells", frozenset())} == set()


def test_half_a_line_is_read_when_it_is_whole(spool: Spool, tmp_path: Path, records: list[Record]) -> None:
    watch = SpoolWatch(tmp_path / "spool")
    cell = next(record for record in records if isinstance(record, MeasurementRecord))
    with Spool.open(tmp_path / "other", "x") as other:
        other.append(cell)
        line = other.path.read_bytes()
    with spool.path.open("ab") as file:
        file.write(line[:100])
    assert watch.running()[0].measured == 0
    with spool.path.open("ab") as file:
        file.write(line[100:])
    assert watch.running()[0].measured == 1


def test_looking_takes_no_lock(spool: Spool, tmp_path: Path) -> None:
    watch = SpoolWatch(tmp_path / "spool")
    watch.running()
    spool.close()
    # A run that is resumed at any moment finds its file free.
    with Spool.open(tmp_path / "spool", "night-7") as again:
        assert [run.run_id for run in watch.running()] == ["night-7"]
        again.append(RunFinished("night-7", DAWN, "completed", {}))


def test_where_the_kernel_tells_of_no_locks_nothing_goes_on(spool: Spool, tmp_path: Path) -> None:
    assert spool.path.exists()
    assert SpoolWatch(tmp_path / "spool", tmp_path / "no-such-file").running() == []
    nowhere = SpoolWatch(tmp_path / "no-such-folder")
    assert Waiting(tmp_path / "no-such-folder", nowhere, lambda _: {}).backlog().files == 0


def test_each_kind_of_machine_has_its_own_newest_run(site: Site) -> None:
    later = DAWN + timedelta(days=1)
    site.store.ingest([RunStarted("night-3", "smoke", 1, later, "8 cpus", {}, "", 4)])
    found = scraped(site)
    assert figure(found, "last_run_status", **SMOKE, status="completed") == 1
    assert figure(found, "last_run_status", suite="smoke", hardware="8 cpus", status="unfinished") == 1
    _, status = site.ask("/api/v1/status")
    assert [(night["run_id"], night["hardware"]) for night in status["newest"]] == [
        ("night-1", "2 cpus"),
        ("night-3", "8 cpus"),
    ]


def test_what_stays_in_the_spool_and_is_stored_does_not_wait(site: Site, records: list[Record]) -> None:
    """`nightbench run --resume` finds cancelled runs there for ever."""
    first = replace(records[-1], status="cancelled")
    again = replace(first, finished_at=first.finished_at + timedelta(hours=1))

    def waiting() -> float | None:
        return figure(scraped(site), "spool_files")

    def spooled(*more: Record, run_id: str = "night-7") -> None:
        with Spool.open(site.services.spool, run_id) as opened:
            opened.append(*more)

    spooled(*records[:-1], first)
    assert waiting() == 1
    site.store.ingest([*records[:-1], first])
    assert waiting() == 0
    assert figure(scraped(site), "spool_oldest_timestamp_seconds") is None
    # Resumed while the database was away: its second end is not stored.
    spooled(again)
    assert waiting() == 1
    site.store.ingest([again])
    assert waiting() == 0
    # Killed: there will be no end.
    killed = make_night("night-8", cells=3)[:-1]
    spooled(*killed, run_id="night-8")
    assert waiting() == 1
    site.store.ingest(killed)
    assert waiting() == 0
    # A completed run's file would have been put away, were it stored whole.
    site.store.ingest(whole := make_night("night-9"))
    spooled(*whole, run_id="night-9")
    assert waiting() == 1
    _, status = site.ask("/api/v1/status")
    assert status["spool_files"] == 1


def test_without_the_database_what_was_not_stored_before_waits(site: Site, records: list[Record]) -> None:
    away, asked = [False], []

    def ends(run_ids: Collection[str]) -> Mapping[str, datetime | None]:
        asked.append(list(run_ids))
        if away[0]:
            raise DatabaseDown("gone")
        return site.store.ends(run_ids)

    waiting = Waiting(site.services.spool, SpoolWatch(site.services.spool), ends)
    end = replace(records[-1], status="cancelled")
    with Spool.open(site.services.spool, "night-7") as opened:
        opened.append(*records[:-1], end)
    site.store.ingest([*records[:-1], end])
    assert [waiting.backlog().files for _ in range(3)] == [0, 0, 0]
    assert asked == [["night-7"]]
    away[0] = True
    with Spool.open(site.services.spool, "night-8") as opened:
        opened.append(replace(end, run_id="night-8"))
        path = opened.path
    assert waiting.backlog() == Backlog(
        1, path.stat().st_size, datetime.fromtimestamp(path.stat().st_mtime_ns / 1e9, UTC)
    )
