"""What a deployment answers is compared before it is timed, and a cell with other answers is a gap that says so."""

from types import SimpleNamespace
from typing import Any

from db import spool
from nightbench.record import MeasurementRecord, MissingRecord, Record, WireParityRecord
from nightbench.server import Protocol
from tasks.missing import why_untimed
from tasks.session import Known
from tests.flows.conftest import Bench

BATCHED = """
name: toy
rounds: 1
measure: {{warmup_s: 0.2, duration_s: 0.5, timeout_s: 3, calibrate: false}}
parity_batches: [1]
sweeps:
  - models: [tiny_cnn]
    servers: [{server}]
    batches: [1, 4]
    loads: [{{closed: 1}}, {{closed: 2}}]
"""


def night(bench: Bench, server: str) -> list[Record]:
    path = bench.home / "suite.yaml"
    path.write_text(BATCHED.format(server=server))
    _, output = bench.run("run", str(path), "--offline")
    assert "Traceback" not in output
    (lines,) = (bench.home / "spool").glob("*.jsonl")
    return list(spool.read(lines).records)


def test_each_protocol_and_batch_is_asked_once_before_its_first_cell(bench: Bench) -> None:
    records = night(bench, "toy")
    wire = [record for record in records if isinstance(record, WireParityRecord)]
    assert sorted(record.batch for record in wire) == [1, 4]
    assert all(record.passed and record.nrmse < 1e-4 for record in wire)
    assert {(record.items, record.answered, record.detail) for record in wire} == {(16, True, "")}
    assert {record.top1_agreement for record in wire} == {1.0}
    cells = [record for record in records if isinstance(record, MeasurementRecord)]
    assert len(cells) == 4
    assert max(map(records.index, wire)) < min(map(records.index, cells))


def test_a_server_that_mixes_up_its_batches_is_timed_without_them_only(bench: Bench) -> None:
    records = night(bench, "{name: toy, options: {flaw: mixes_batches}}")
    wire = {record.batch: record for record in records if isinstance(record, WireParityRecord)}
    assert (wire[1].passed, wire[4].passed) == (True, False)
    assert wire[4].nrmse > 0.5
    cells = [record for record in records if isinstance(record, MeasurementRecord)]
    assert [record.case.batch for record in cells] == [1, 1]
    gaps = [record for record in records if isinstance(record, MissingRecord)]
    assert [(gap.batch, gap.reason) for gap in gaps] == [(4, "parity_failed")] * 2
    assert {gap.detail for gap in gaps} == {f"output 'scores' {wire[4].detail}"}


def test_no_answers_are_no_wrong_answers() -> None:
    known = Known()
    session: Any = SimpleNamespace(known=known)
    silent, wrong, right = (("d0", Protocol.RAW_HTTP, batch) for batch in (1, 2, 4))
    known.parity |= {silent: "cannot be had", wrong: "differs", right: ""}
    known.unanswered.add(silent)
    whys = [why_untimed(session, kind) for kind in (silent, wrong, right)]
    assert whys == ["measuring_failed", "parity_failed", "measuring_failed"]


def test_a_model_that_the_engine_hosts_is_asked_by_the_engine(bench: Bench) -> None:
    records = night(bench, "pytorch")
    wire = [record for record in records if isinstance(record, WireParityRecord)]
    assert sorted(record.batch for record in wire) == [1, 4]
    assert all(record.passed for record in wire)
    assert sum(isinstance(record, MeasurementRecord) for record in records) == 4
