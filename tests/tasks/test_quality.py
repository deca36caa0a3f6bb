"""The gate: each planted fault is named, and nothing else is."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from random import Random
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.quality
from dashboards.quality.page import render
from dashboards.report.findings import troubles
from dashboards.report.page import write as write_report
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.histogram import LatencyHistogram
from nightbench.night_frame import Row
from nightbench.quality import RULES, Evaluated, Quality, gate_records, judged
from nightbench.record import GateRecord, MeasurementRecord, Record, decode, encode
from nightbench.summary import summarise
from tasks.apart import Unanswered, ask
from tests.tasks.made_nights import (
    RUN,
    measured,
    plan,
    searched,
    started,
    streamed,
)
from tests.tasks.planting import ANYTHING, CELLS, LOST, PLANTED, PLANTED_NIGHT, SOUND_NIGHT, Planted, plainly, rows_of


def evaluated(rows: Sequence[Row]) -> list[Evaluated]:
    """By Great Expectations itself, in its process."""
    checks = [check for rule in RULES for check in rule.checks]
    answers = ask("tasks.expectations", rows, 300.0)
    return [Evaluated(check, seen, tuple(broken)) for check, (seen, broken) in zip(checks, answers, strict=True)]


@dataclass(frozen=True)
class Held:
    evaluated: list[Evaluated]
    printed: bytes


@pytest.fixture(scope="module")
def held() -> Held:
    """One frame of the planted night and rows of anything, for the import of Great Expectations takes seconds."""
    with TemporaryFile() as heard:
        kept = [os.dup(fd) for fd in (1, 2)]
        for fd in (1, 2):
            os.dup2(heard.fileno(), fd)
        try:
            found = evaluated([*rows_of(PLANTED_NIGHT), *ANYTHING])
        finally:
            for fd, old in zip((1, 2), kept, strict=True):
                os.dup2(old, fd)
                os.close(old)
        heard.seek(0)
        return Held(found, heard.read())


@pytest.fixture(scope="module")
def of_night(held: Held) -> list[Evaluated]:
    return [
        replace(each, broken_in=tuple(cell for cell in each.broken_in if not cell.startswith("any")))
        for each in held.evaluated
    ]


@pytest.fixture(scope="module")
def planted(of_night: list[Evaluated]) -> list[Quality]:
    return judged(rows_of(PLANTED_NIGHT), of_night)


@pytest.fixture(scope="module")
def found(planted: list[Quality]) -> dict[str, list[GateRecord]]:
    """By the label of the cell's load."""
    labels = {cell.key: cell.load.label for cell in CELLS}
    by_load: dict[str, list[GateRecord]] = {}
    for record in gate_records(RUN, planted):
        by_load.setdefault(labels[record.cell_key], []).append(record)
    return by_load


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.load)
def test_a_planted_fault_is_named_and_nothing_else_is(fault: Planted, found: dict[str, list[GateRecord]]) -> None:
    (record,) = found[fault.load]
    assert (record.expectation, record.reason, record.figures) == (fault.rule, fault.reason, fault.figures)
    assert record.detail.startswith("round 2: ")
    assert fault.detail in record.detail


def test_a_round_without_any_record_is_named_and_a_gap_that_says_why_is_none(
    found: dict[str, list[GateRecord]],
) -> None:
    (record,) = found[LOST]
    assert (record.expectation, record.reason) == ("every_round_is_on_record", Reason.INCOMPLETE)
    assert record.detail == "round 2: there is no record of it: neither figures nor a reason why there are none"


def test_sound_cells_are_left_alone(found: dict[str, list[GateRecord]]) -> None:
    assert found.keys() == {*(each.load for each in PLANTED), LOST}
    assert "closed c12" not in found


def test_findings_are_doubts_of_their_cells_wherever_the_night_is_read(planted: list[Quality]) -> None:
    gate = gate_records(RUN, planted)
    # As from the spool, and from one that a resumed run added to.
    records = [decode(encode(record)) for record in (*PLANTED_NIGHT, *gate, *gate)]
    summary = summarise(records)
    by_load = {cell.load.label: cell for cell in summary.cells}
    for fault in PLANTED:
        (doubt,) = by_load[fault.load].doubts
        assert doubt.detail.startswith("round 2: ")
        assert (doubt.reason, doubt.figures) == (fault.reason, fault.figures)
        assert by_load[fault.load].doubted == (not fault.figures)
    assert not by_load["closed c12"].doubts
    # What is no number is not averaged, nor does it spoil what cells lend each other.
    assert by_load["closed c3"].throughput_rps is None
    assert by_load["closed c12"].throughput_rps == next(
        cell.throughput_rps for cell in summarise(SOUND_NIGHT).cells if cell.load.label == "closed c12"
    )
    assert len(summary.gate) == len(gate)
    assert "The quality gate doubts 15 cells." in troubles(summary)
    alone = summarise(PLANTED_NIGHT)
    assert {doubt.reason for cell in alone.cells for doubt in cell.doubts} == {Reason.FEW_ROUNDS}
    assert not alone.gate


def test_a_cell_that_left_no_record_at_all_is_still_told() -> None:
    cells = plan(closed=1, opened=0)
    rows = rows_of([], cells)
    (record,) = gate_records(RUN, judged(rows, plainly(rows)))
    assert record.detail.startswith("3 rounds, as in round 1: ")
    summary = summarise([started(), record])
    assert summary.cells == ()
    assert troubles(summary) == ["The quality gate doubts one cell, 1 of them without any record."]


def test_great_expectations_reads_the_checks_as_they_are_meant(held: Held) -> None:
    expected = plainly([*rows_of(PLANTED_NIGHT), *ANYTHING])
    assert [each.looked_at for each in held.evaluated] == [each.looked_at for each in expected]
    assert [list(each.broken_in) for each in held.evaluated] == [list(each.broken_in) for each in expected]
    assert sum(len(each.broken_in) for each in expected) > 1000
    assert held.printed == b""


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_order_of_records_and_rows_is_of_no_consequence(random: Random) -> None:
    records, cells = list(PLANTED_NIGHT), list(CELLS)
    rows = rows_of(records)
    expected = gate_records(RUN, judged(rows, plainly(rows)))
    random.shuffle(records)
    random.shuffle(cells)
    shuffled = rows_of(records, cells)
    assert shuffled == rows
    random.shuffle(shuffled)
    results = plainly(shuffled)
    random.shuffle(results)
    assert gate_records(RUN, judged(shuffled, results)) == expected


@pytest.mark.parametrize("shape", [lambda record: record, streamed, searched], ids=["plain", "streamed", "searched"])
def test_a_clean_night_raises_nothing(shape: Callable[[MeasurementRecord], MeasurementRecord]) -> None:
    rows = rows_of([shape(measured(cell)) for cell in CELLS])
    assert not gate_records(RUN, judged(rows, plainly(rows)))


def test_what_a_cell_is_doubted_for_already_is_no_fault_of_the_record() -> None:
    """An empty window, a tail that the samples do not carry, and a backlog that only grew."""
    closed, opened = CELLS[0], next(cell for cell in CELLS if cell.load.label == "poisson 200 rps")
    base = measured(closed)
    empty = replace(
        base,
        counts={"timeout": 4},
        throughput_rps=Estimate(0.0),
        latency_ns={},
        service_ns={},
        lag_ns={},
        measured_ns=0,
        histogram=LatencyHistogram().encode(),
    )
    tailless = replace(base, latency_ns={"p50": base.latency_ns["p50"]}, service_ns={"p50": base.service_ns["p50"]})
    swamped = measured(opened)
    slow = {name: Estimate(each.value + 15e9) for name, each in swamped.latency_ns.items()}
    at_15_s = np.full(swamped.ok, 15_000_000_000)
    swamped = replace(
        swamped, latency_ns=slow, throughput_rps=Estimate(40.0), histogram=LatencyHistogram.from_ns(at_15_s).encode()
    )
    for record in (empty, tailless, swamped):
        rows = rows_of([record], [])
        assert not gate_records(RUN, judged(rows, plainly(rows)))


def test_a_histogram_that_cannot_be_read_is_a_fault_of_its_cell() -> None:
    rows = rows_of([replace(measured(CELLS[0]), histogram="HISTFAAAA garbage")], [])
    (record,) = gate_records(RUN, judged(rows, plainly(rows)))
    assert "histogram_ok is no finite number" in record.detail


def test_the_page_names_every_expectation_and_every_row_that_breaks_one(planted: list[Quality]) -> None:
    page = render(started(), rows_of(PLANTED_NIGHT), planted)
    for each in planted:
        assert each.rule.name.replace("_", " ") in page
        for finding in each.findings:
            assert f'href="report.html#cell-{finding.cell_key}"' in page
        for one in each.evaluated:
            assert f'data-expectation="{one.check.says}"' in page
    assert page.count("data-finding=") == len(PLANTED) + 1
    assert page.count(">failed<") == len(RULES)
    # It needs nothing but a browser, and runs nothing.
    assert "default-src 'none'; script-src ;" in unescape(page)
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "url(" not in page


def test_the_page_of_a_clean_night_says_so_and_hostile_names_stay_text() -> None:
    rows = [{**row, "label": "<script>alert(1)</script>"} for row in rows_of(SOUND_NIGHT)]
    clean = render(started(), rows, judged(rows, plainly(rows)))
    assert "Nothing: the night is whole" in clean
    assert ">failed<" not in clean
    assert clean.count(">passed<") == len(RULES)
    rows = [{**row, "record": None} for row in rows]
    assert "<script>" not in render(started(), rows, judged(rows, plainly(rows)))


def test_the_report_links_what_lies_beside_it_and_each_cell_can_be_linked(
    planted: list[Quality], tmp_path: Path
) -> None:
    summary = summarise([*PLANTED_NIGHT, *gate_records(RUN, planted)])
    alone = write_report(summary, tmp_path / "alone" / "report.html").read_text(encoding="utf-8")
    assert "quality.html" not in alone
    (tmp_path / "quality.html").touch()
    page = write_report(summary, tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<a href="quality.html">the quality gate</a>' in page
    assert "drift.html" not in page
    assert all(page.count(f'id="cell-{cell.cell_key}"') == 1 for cell in summary.cells)


class Listener:
    """Stands in for the rest of a session."""

    def __init__(self, records: Sequence[Record], folder: Path) -> None:
        self.records = list(records)
        self.notes: list[str] = []
        self.session: Any = SimpleNamespace(
            run_id=RUN,
            suite=SimpleNamespace(measure=SimpleNamespace(timeout_s=10.0, warmup_s=2.0, duration_s=10.0)),
            catalog=None,
            settings=None,
            folder=folder,
            progress=SimpleNamespace(note=self.notes.append, doing=lambda _: None),
            record=self.records.append,
        )


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Listener:
    made = Listener(PLANTED_NIGHT, tmp_path)
    monkeypatch.setattr(tasks.quality, "spooled_records", lambda *_: tuple(made.records))
    monkeypatch.setattr(tasks.quality, "resolve", lambda *_: SimpleNamespace(cells=CELLS))
    return made


def test_the_stage_puts_doubts_on_record_and_draws_its_page(
    listener: Listener, of_night: list[Evaluated], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(module: str, rows: list[Row], _: float) -> object:
        assert module == "tasks.expectations"
        assert rows == rows_of(PLANTED_NIGHT)
        return [[each.looked_at, list(each.broken_in)] for each in of_night]

    monkeypatch.setattr(tasks.quality, "ask", answers)
    found = tasks.quality.check_quality(listener.session)
    assert len(found) == len(PLANTED) + 1
    assert listener.records[-len(found) :] == found
    assert listener.notes == ["the quality gate doubts 15 cells: see quality.html"]
    assert "quantiles rise" in (listener.session.folder / "quality.html").read_text()


def test_a_gate_that_cannot_be_held_ends_no_night(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise Unanswered("tasks.expectations ended with code -11: it said nothing")

    monkeypatch.setattr(tasks.quality, "ask", broken)
    assert tasks.quality.check_quality(listener.session) == []
    assert listener.notes == [
        "the quality gate could not be held: tasks.expectations ended with code -11: it said nothing"
    ]


def test_without_great_expectations_the_gate_is_left_out_with_a_note(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.quality, "find_spec", lambda _: None)
    assert tasks.quality.check_quality(listener.session) == []
    assert "not installed" in listener.notes[0]


def test_doubts_of_the_gate_come_after_those_of_the_rounds() -> None:
    own = Doubt(Reason.BIMODAL, "latency has two modes", ("p50",))
    records = [replace(measured(cell), doubts=(own,)) for cell in CELLS[:3] if cell.key == CELLS[0].key]
    gate = [
        GateRecord(RUN, CELLS[0].key, Reason.QUANTILES_CROSS, "quantiles_rise", "round 1: b", ("ttft_p50",)),
        GateRecord(RUN, CELLS[0].key, Reason.QUANTILES_CROSS, "service_is_within_latency", "round 2: a"),
        GateRecord(RUN, "somewhere else", Reason.INCOMPLETE, "every_round_is_on_record", "round 1: c"),
    ]
    (cell,) = summarise([started(), *gate, *records]).cells
    reasons = [doubt.reason for doubt in cell.doubts]
    assert reasons[0] is Reason.BIMODAL
    assert reasons[-1] is Reason.QUANTILES_CROSS
    assert cell.doubts[-1] == Doubt(Reason.QUANTILES_CROSS, "round 1: b; round 2: a")
