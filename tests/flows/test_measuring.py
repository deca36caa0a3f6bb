"""What a night does beside timing given loads: it searches, calibrates its client, and stops when it knows enough."""

import time
from pathlib import Path

import pytest

from db import spool
from nightbench.load import ClosedLoop, EndedBy, PeakShare, Search
from nightbench.record import CalibrationRecord, MeasurementRecord, MissingRecord, Record
from nightbench.server import Protocol
from tests.flows.conftest import Bench


def records(bench: Bench) -> list[Record]:
    (path,) = (bench.home / "spool").glob("*.jsonl")
    return list(spool.read(path).records)


def measured(bench: Bench) -> list[MeasurementRecord]:
    return [record for record in records(bench) if isinstance(record, MeasurementRecord)]


def test_a_share_of_the_peak_follows_the_search_for_it(bench: Bench) -> None:
    slow = "{name: toy, options: {delay_ms: 5}}"
    suite = bench.suite(slow, loads="{open: {peak_share: 0.5}}, {search: peak}, {closed: 1}", duration_s=0.6)
    code, output = bench.run("run", suite, "--offline")
    assert code == 0, output
    cells = {type(cell.case.load): cell for cell in measured(bench)}
    search, share = cells[Search], cells[PeakShare]
    assert search.search is not None
    steps = search.search.steps
    assert [step.load for step in steps[:2]] == [ClosedLoop(1), ClosedLoop(2)]
    assert search.throughput_rps == steps[search.search.chosen].throughput_rps
    assert share.offered_rps is not None
    # So many Poisson arrivals in so short a time: four standard deviations.
    expected = 0.5 * search.search.answer_rps.value
    assert abs(share.offered_rps - expected) < 4 * (expected / 0.6) ** 0.5
    kept = {path.name for path in next((bench.home / "runs").glob("*/samples")).iterdir()}
    assert kept == {f"{cell.cell_id}.npz" for cell in cells.values()}


def test_a_share_without_a_peak_is_a_gap_that_says_so(bench: Bench) -> None:
    dying = "{name: toy, options: {flaw: dies_under_load}}"
    code, output = bench.run("run", bench.suite(dying, loads="{open: {peak_share: 0.5}}, {search: peak}"), "--offline")
    assert code == 3, output
    (gap,) = (record for record in records(bench) if isinstance(record, MissingRecord))
    assert isinstance(gap.load, PeakShare)
    # What a dead server "reached" is no peak for a resumed run either.
    code, output = bench.run("run", "--resume", gap.run_id, "--offline")
    assert code == 3, output
    assert "Traceback" not in output


def test_the_client_is_calibrated_for_each_kind_of_request_and_before_each_round(bench: Bench) -> None:
    code, output = bench.run("run", bench.suite(rounds=2, measure="calibrate: true"), "--offline")
    assert code == 0, output
    found = [record for record in records(bench) if isinstance(record, CalibrationRecord)]
    assert [(record.protocol, record.model, record.round) for record in found] == [
        (Protocol.RAW_HTTP, "tiny_cnn", 0),
        *((Protocol.OPAQUE_HTTP, "", number) for number in (0, 1, 2)),
    ]
    assert all(record.failure is None and record.ceiling_rps.value > 0 for record in found)
    for cell in measured(bench):
        assert cell.ceiling_share is not None
        assert abs(cell.ceiling_share - cell.throughput_rps.value / found[0].ceiling_rps.value) < 1e-9


def test_measuring_ends_when_the_figures_are_known_as_well_as_asked(bench: Bench) -> None:
    slow = "{name: toy, options: {delay_ms: 3}}"
    suite = bench.suite(slow, duration_s=60, measure="calibrate: false, precision: {p50: 0.5}")
    code, output = bench.run("run", suite, "--offline")
    assert code == 0, output
    (cell,) = measured(bench)
    assert cell.ended_by is EndedBy.PRECISION
    assert cell.measured_ns < 50e9
    p50 = cell.latency_ns["p50"]
    assert p50.low is not None
    assert p50.high is not None


def test_a_trace_beside_the_suite_is_replayed(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "arrivals.txt").write_text("".join(f"{number * 0.01:.2f}\n" for number in range(100)))
    code, output = bench.run("run", bench.suite(loads="{open: {trace: arrivals.txt, rate_rps: 50}}"), "--offline")
    assert code == 0, output
    (cell,) = measured(bench)
    assert cell.offered_rps is not None
    assert abs(cell.offered_rps - 50) < 3


@pytest.mark.parametrize("content", ["0\n1\ngarbage here\n", "2\n1\n", "1\n1\n"])
def test_a_trace_that_is_none_is_refused_before_any_work(bench: Bench, tmp_path: Path, content: str) -> None:
    (tmp_path / "arrivals.txt").write_text(content)
    suite = bench.suite(loads="{open: {trace: arrivals.txt, rate_rps: 50}}")
    for verb in (("plan", suite), ("run", suite, "--offline")):
        code, output = bench.run(*verb)
        assert code == 2, output
        assert "arrivals.txt" in output
        assert len(output.strip().splitlines()) == 1
    assert not (bench.home / "spool").exists()


def test_a_trace_that_changed_cannot_be_resumed(bench: Bench, tmp_path: Path) -> None:
    trace = tmp_path / "arrivals.txt"
    trace.write_text("".join(f"{number * 0.01:.2f}\n" for number in range(100)))
    suite = bench.suite(loads="{open: {trace: arrivals.txt, rate_rps: 50}}, {closed: 1}", duration_s=1.5)
    process = bench.start("run", suite, "--offline")
    deadline = time.monotonic() + 90
    while not list((bench.home / "spool").glob("*.jsonl")) or not measured(bench):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.communicate()
    (run,) = (bench.home / "spool").glob("*.jsonl")
    trace.write_text("0\n1\n")
    code, output = bench.run("run", "--resume", run.stem, "--offline")
    assert code == 2, output
    assert "a trace of its suite is another than when it began" in output
