"""A resumed run fills gaps its first part left. The database keeps the outcome, whatever arrives first or twice."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from db.drain import drain
from db.engine import open_engine
from db.ingest import ingest
from db.spool import Spool, read
from db.store import Store
from nightbench.figures import Estimate
from nightbench.histogram import LatencyHistogram
from nightbench.record import (
    ArtifactRecord,
    DeploymentRecord,
    MeasurementRecord,
    MissingRecord,
    Record,
    RunFinished,
    RunStarted,
)
from nightbench.summary import summarise

Night = Callable[..., list[Record]]
Parts = tuple[list[Record], list[Record]]


def _missing(of: MeasurementRecord, detail: str = "died: exit 139") -> MissingRecord:
    case = of.case
    return MissingRecord(
        *(of.run_id, of.cell_id, of.round, case.server, case.model, case.format, case.precision, case.options),
        *(case.protocol, case.batch, case.load, "deployment_failed", detail),
    )


@pytest.fixture
def parts(night: Night, measurement: Any) -> Parts:
    """Two cells, two rounds. The server of round 1 dies at its start; the resumed run measures one cell of it."""
    started, artifact, _, _, first, _, *_, end = night()
    assert isinstance(started, RunStarted)
    assert isinstance(artifact, ArtifactRecord)
    assert isinstance(first, DeploymentRecord)
    assert isinstance(end, RunFinished)

    def timed(key: str, number: int, deployment: str, minute: int, rate: float) -> MeasurementRecord:
        record = measurement(
            started.run_id,
            f"{key}.r{number}",
            round=number,
            deployment_id=deployment,
            started_at=started.started_at + timedelta(minutes=minute),
            throughput_rps=Estimate(rate, rate - 1, rate + 1),
            histogram=LatencyHistogram.from_ns(np.array([10**6 * minute])).encode(),
        )
        assert isinstance(record, MeasurementRecord)
        return record

    def deployed(name: str, minute: int, **changes: Any) -> DeploymentRecord:
        at = started.started_at + timedelta(minutes=minute)
        return replace(first, deployment_id=name, round=1, started_at=at, **changes)

    again, never = timed("a", 1, "d1.2", 50, 93.0), timed("b", 1, "d1.2", 51, 55.0)
    before: list[Record] = [
        *(started, artifact, first, timed("a", 0, "d0", 3, 90.0), timed("b", 0, "d0", 4, 50.0)),
        deployed("d1", 9, cold_start_ns=None, rss_bytes=None, failure_kind="died", failure="exit 139"),
        *(_missing(again), _missing(never)),
        replace(end, status="cancelled", finished_at=end.finished_at - timedelta(minutes=30), spent_ns={"deploy": 1}),
    ]
    return before, [deployed("d1.2", 49, cold_start_ns=2 * 10**9), again, end]


def _appended(folder: Path, records: list[Record]) -> Path:
    with Spool.open(folder, "night-1") as spool:
        for record in records:
            spool.append(record)
    return spool.path


@pytest.mark.parametrize("drained_between", [True, False])
def test_spool_and_database_sum_up_alike(tmp_path: Path, store: Store, parts: Parts, drained_between: bool) -> None:
    before, after = parts
    path = _appended(tmp_path, before)
    if drained_between:
        drain(tmp_path, store)
        assert (store.history()[0].measured, store.history()[0].missing) == (2, 2)
    _appended(tmp_path, after)
    spooled = summarise(read(path).records)
    drain(tmp_path, store)
    stored = summarise(store.records("night-1"))
    assert stored == spooled
    assert [(cell.rounds, len(cell.missing)) for cell in stored.cells] == [(2, 0), (1, 1)]
    (setup,) = stored.deployments
    assert (setup.starts, setup.failed) == (3, 1)
    assert stored.finished == after[-1]
    (run,) = store.history()
    assert (run.measured, run.missing, run.status) == (3, 1, "completed")


@pytest.mark.parametrize("order", ["gap first", "measurement first", "together", "gap last in one file"])
def test_a_measured_cell_is_not_missing_in_whichever_order_it_arrives(store: Store, parts: Parts, order: str) -> None:
    measured = parts[1][1]
    assert isinstance(measured, MeasurementRecord)
    gap = _missing(measured)
    batches = {
        "gap first": [[gap], [measured]],
        "measurement first": [[measured], [gap]],
        "together": [[gap, measured]],
        "gap last in one file": [[measured, gap]],
    }[order]
    counts = [store.ingest(batch) for batch in batches]
    assert sum(done.new for done in counts) == (2 if order == "gap first" else 1)
    assert store.records("night-1") == [measured]
    for batch in batches:
        again = store.ingest(batch)
        assert (again.new, again.known) == (0, len(batch))
    assert store.records("night-1") == [measured]


def test_a_gap_is_filled_in_its_own_run_alone(store: Store, parts: Parts) -> None:
    measured = parts[1][1]
    assert isinstance(measured, MeasurementRecord)
    other = replace(_missing(measured), run_id="night-2")
    store.ingest([other, _missing(measured)])
    store.ingest([measured])
    assert store.records("night-2") == [other]


def test_a_refused_measurement_fills_no_gap(store: Store, parts: Parts) -> None:
    measured = parts[1][1]
    assert isinstance(measured, MeasurementRecord)
    beyond = replace(measured, throughput_rps=Estimate(10.0, 11.0, 12.0))
    assert len(store.ingest([_missing(measured), beyond]).refused) == 1
    assert store.records("night-1") == [_missing(measured)]


def test_a_measurement_stored_meanwhile_by_another_process_is_seen(store: Store, url: str, parts: Parts) -> None:
    started, measured = parts[0][0], parts[1][1]
    assert isinstance(measured, MeasurementRecord)
    store.ingest([started])
    late = threading.Thread(target=store.ingest, args=([_missing(measured)],))
    with open_engine(url, pooled=False).begin() as other:
        ingest(other, [measured])
        late.start()
        # The other's transaction is still open: whoever does not wait for its end cannot know of the measurement.
        while late.is_alive() and not _somebody_waits(url):
            time.sleep(0.01)
    late.join()
    assert store.records("night-1") == [started, measured]


def _somebody_waits(url: str) -> bool:
    with open_engine(url, pooled=False).connect() as connection:
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        return bool(connection.scalar(text(waiting)))


@pytest.mark.parametrize("together", [True, False])
def test_an_export_that_works_after_all_is_no_longer_failed(store: Store, parts: Parts, together: bool) -> None:
    exported = parts[0][1]
    assert isinstance(exported, ArtifactRecord)
    failed = replace(
        exported, sha256=None, size_bytes=None, export_ns=None, exporter={}, reproducible=False, failure="no such op"
    )
    again = replace(failed, failure="no such op, once more")
    for batch in [[failed, again, exported]] if together else [[failed], [again], [exported]]:
        store.ingest(batch)
    assert store.records("night-1") == [exported]
    assert store.ingest([failed, exported, again]).known == 3
    assert store.records("night-1") == [exported]


def test_the_first_of_several_failures_is_kept(store: Store, parts: Parts) -> None:
    exported = parts[0][1]
    assert isinstance(exported, ArtifactRecord)
    failed = replace(exported, sha256=None, size_bytes=None, failure="first")
    assert store.ingest([failed, replace(failed, failure="second")]).new == 1
    assert store.ingest([replace(failed, failure="third")]).new == 0
    assert store.records("night-1") == [failed]
