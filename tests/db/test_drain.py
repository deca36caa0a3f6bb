"""Draining brings every spooled record into the database once, and loses none on the way."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from db import embedded
from db.drain import drain
from db.errors import DatabaseDown
from db.spool import Spool
from db.store import Store
from nightbench.figures import Estimate
from nightbench.histogram import LatencyHistogram
from nightbench.record import MeasurementRecord, Record

Night = Callable[..., list[Record]]


def _spool(folder: Path, run_id: str, records: list[Record]) -> Path:
    with Spool.open(folder, run_id) as spool:
        for record in records:
            spool.append(record)
    return spool.path


def test_finished_runs_are_stored_and_put_away(tmp_path: Path, store: Store, night: Night) -> None:
    ended, running = night("ended"), night("running")[:-1]
    _spool(tmp_path, "ended", ended)
    _spool(tmp_path, "running", running)
    first = drain(tmp_path, store)
    assert (first.files, first.new, first.known, first.skipped) == (2, len(ended) + len(running), 0, 0)
    again = drain(tmp_path, store)
    assert (again.files, again.new, again.known) == (1, 0, len(running))
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["running.jsonl"]
    assert (tmp_path / "ingested" / "ended.jsonl").exists()


def test_a_run_that_nobody_resumes_is_not_read_for_ever(tmp_path: Path, store: Store, night: Night) -> None:
    waiting, left = (_spool(tmp_path, name, night(name)[:-1]) for name in ("waiting", "left"))
    weeks_ago = time.time() - 15 * 86_400
    os.utime(left, (weeks_ago, weeks_ago))
    drain(tmp_path, store)
    assert list(tmp_path.glob("*.jsonl")) == [waiting]
    assert (tmp_path / "ingested" / "left.jsonl").exists()


def test_a_night_that_ran_elsewhere_is_history_for_the_next(tmp_path: Path, store: Store, night: Night) -> None:
    timed = LatencyHistogram.from_ns(np.array([4_000_000])).encode()
    for run_id in ("first", "second"):
        records = [
            replace(each, histogram=timed) if isinstance(each, MeasurementRecord) else each for each in night(run_id)
        ]
        _spool(tmp_path, run_id, records)
    drain(tmp_path, store)
    series = store.whole_series("smoke")
    assert series
    assert all([point.night for point in points] == ["first", "second"] for points in series.values())


def test_a_damaged_line_is_counted_the_rest_stored_and_the_file_kept_as_it_is(
    tmp_path: Path, store: Store, night: Night
) -> None:
    path = _spool(tmp_path, "night-1", night())
    whole = path.read_bytes()
    damaged = whole[:40] + whole[60:]
    path.write_bytes(damaged)
    done = drain(tmp_path, store)
    assert (done.new, done.skipped) == (len(night()) - 1, 1)
    assert (tmp_path / "ingested" / path.name).read_bytes() == damaged
    assert drain(tmp_path, store).files == 0


def test_a_file_with_a_line_of_another_version_waits_for_it(tmp_path: Path, store: Store, night: Night) -> None:
    path = _spool(tmp_path, "night-1", night())
    body = b'{"run_id":"night-1","kind":"verdict"}'
    with path.open("ab") as file:
        file.write(b'{"crc":"%08x","record":%s}\n' % (crc32(body), body))
    done = drain(tmp_path, store)
    assert (done.new, done.skipped) == (len(night()), 0)
    (refusal,) = done.refused
    assert refusal.record == "night-1.jsonl"
    assert refusal.reason.startswith(f"line {len(night()) + 1}: not a record: ")
    assert "verdict" in refusal.reason
    assert path.exists()


def test_a_resumed_run_does_not_overwrite_what_was_put_away(tmp_path: Path, store: Store, night: Night) -> None:
    for _ in range(2):
        _spool(tmp_path, "night-1", night())
        drain(tmp_path, store)
    assert sorted(path.name for path in (tmp_path / "ingested").iterdir()) == ["night-1.2.jsonl", "night-1.jsonl"]


def test_a_file_being_written_is_stored_but_stays(tmp_path: Path, store: Store, night: Night) -> None:
    with Spool.open(tmp_path, "night-1") as spool:
        for record in night():
            spool.append(record)
        assert drain(tmp_path, store).new == len(night())
        assert spool.path.exists()


def test_a_file_with_a_refused_record_stays(tmp_path: Path, store: Store, night: Night, measurement: Any) -> None:
    bad = measurement("night-1", "bad", throughput_rps=Estimate(1.0, 2.0))
    path = _spool(tmp_path, "night-1", [*night(), bad])
    done = drain(tmp_path, store)
    assert (done.new, len(done.refused)) == (len(night()), 1)
    assert path.exists()


def test_a_database_that_is_down_loses_nothing(tmp_path: Path, store: Store, night: Night, postgres_home: Path) -> None:
    _spool(tmp_path, "night-1", night())
    embedded.stop(postgres_home)
    try:
        with pytest.raises(DatabaseDown):
            drain(tmp_path, store)
    finally:
        embedded.start(postgres_home)
    assert drain(tmp_path, store).new == len(night())


def test_two_processes_draining_at_once_store_each_record_once(
    tmp_path: Path, store: Store, url: str, night: Night
) -> None:
    total = 0
    for number in range(4):
        records = night(f"night-{number}", cells=30)
        _spool(tmp_path, f"night-{number}", records)
        total += len(records)
    code = """
import sys
from pathlib import Path
from db.drain import drain
from db.store import Store
with Store(sys.argv[2]) as store:
    store.history()
    print("ready", flush=True)
    sys.stdin.readline()
    print(drain(Path(sys.argv[1]), store).new)
"""
    pipe = subprocess.PIPE
    drains = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, url], stdin=pipe, stdout=pipe, text=True)
        for _ in range(2)
    ]
    try:
        for process in drains:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in drains:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        counts = [int(process.communicate(timeout=60)[0]) for process in drains]
    finally:
        for process in drains:
            process.kill()
            process.communicate()
    assert sum(counts) == total
    assert {run.measured for run in store.history()} == {30}
    assert len(list((tmp_path / "ingested").iterdir())) == 4
