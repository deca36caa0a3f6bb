"""Results as files: equal columns in every form, each documented, and no formula of a stranger for a spreadsheet."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from dashboards.report.told import Told, told_of
from dashboards.results.columns import COLUMNS
from dashboards.results.document import as_pdf
from dashboards.results.export import ResultFormat, Rows, exported
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop
from nightbench.summary import NightSummary, summarise
from tests.dashboards.conftest import night_records
from tests.dashboards.wide import DIGEST, in_containers

NAMES = [column.name for column in COLUMNS]


@pytest.fixture(scope="module")
def told() -> Told:
    return told_of(night_records())


def from_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def from_json(content: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(content)["rows"]
    return rows


def from_parquet(content: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    return rows


@pytest.mark.parametrize("rows", Rows)
def test_every_form_holds_the_same(night: NightSummary, told: Told, rows: Rows) -> None:
    plain = from_json(exported(night, told, ResultFormat.JSON, rows))
    assert from_parquet(exported(night, told, ResultFormat.PARQUET, rows)) == plain
    text = from_csv(exported(night, told, ResultFormat.CSV, rows))
    assert list(text[0]) == NAMES
    assert text == [{name: "" if value is None else str(value) for name, value in row.items()} for row in plain]


def test_a_row_a_cell_missing_ones_among_them(night: NightSummary, told: Told) -> None:
    rows = from_json(exported(night, told, ResultFormat.JSON))
    assert [row["cell"] for row in rows] == [cell.cell_key for cell in night.cells]
    assert {row["state"] for row in rows} == {"sound", "doubted", "missing"}
    gone = next(row for row in rows if row["state"] == "missing" and row["server"] == "flask")
    assert gone["throughput_rps"] is None
    assert gone["rounds"] == 0
    assert gone["missing_because"] == "deployment_failed: not_ready: <b>connection refused</b>"


def test_figures_come_in_the_units_of_their_names_with_both_bounds(night: NightSummary, told: Told) -> None:
    cell = next(each for each in night.cells if each.server == "triton" and each.rounds and each.load == ClosedLoop(4))
    row = next(row for row in from_json(exported(night, told, ResultFormat.JSON)) if row["cell"] == cell.cell_key)
    p99 = cell.latency_ns["p99"]
    assert p99.low is not None
    assert p99.high is not None
    assert row["latency_p99_ms"] == p99.value / 1e6
    assert (row["latency_p99_ms_low"], row["latency_p99_ms_high"]) == (p99.low / 1e6, p99.high / 1e6)
    assert row["fingerprint"] == cell.measurements[0].case.fingerprint
    assert row["launcher"] == "process"
    assert json.loads(row["options"]) == {"dynamic_batching": False}
    assert 6_000 < row["cold_start_ms"] < 8_000
    assert row["rss_bytes"] > 500 * 2**20


def test_a_row_a_round_has_that_rounds_figures_and_doubts(night: NightSummary, told: Told) -> None:
    rows = from_json(exported(night, told, ResultFormat.JSON, Rows.ROUND))
    measured = [row for row in rows if row["round"] is not None]
    assert len(measured) == sum(cell.rounds for cell in night.cells)
    late = {row["round"] for row in measured if row["doubts"] == "late_sends; foreign_load"}
    assert late == {1, 3}
    cell = next(each for each in night.cells if each.rounds)
    own = [row for row in measured if row["cell"] == cell.cell_key]
    assert [row["throughput_rps"] for row in own] == [each.throughput_rps.value for each in cell.measurements]
    assert len({row["cold_start_ms"] for row in own}) == len(own)


def test_a_doubt_about_some_figures_names_them(night: NightSummary, told: Told) -> None:
    from nightbench.figures import Doubt, Reason

    cell = replace(night.cells[0], doubts=(Doubt(Reason.TOO_FEW_SAMPLES, "few", ("p95", "p99")),))
    (row,) = from_json(exported(replace(night, cells=(cell,)), told, ResultFormat.JSON))
    assert row["doubts"] == "too_few_samples(p95,p99)"
    assert row["state"] == "sound" if cell.rounds else "missing"


def test_containers_are_told_by_launcher_and_digest() -> None:
    records = list(in_containers(night_records(("mobilenet_v2",))))
    rows = from_json(exported(summarise(records), told_of(records), ResultFormat.JSON))
    assert {(row["server"], row["launcher"], row["image_digest"]) for row in rows} == {
        ("pytorch", "", ""),
        *((server, "docker", DIGEST) for server in ("fastapi", "flask", "onnxruntime", "triton")),
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_a_spreadsheet_runs_no_strangers_formula(night: NightSummary, told: Told, start: str) -> None:
    hostile = f"{start}HYPERLINK(evil)"
    named = replace(night, cells=tuple(replace(cell, server=hostile) for cell in night.cells))
    assert {row["server"] for row in from_csv(exported(named, told, ResultFormat.CSV))} == {f"'{hostile}"}
    assert {row["server"] for row in from_json(exported(named, told, ResultFormat.JSON))} == {hostile}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_left_empty(night: NightSummary, told: Told, wrong: float) -> None:
    broken = replace(night, cells=(replace(night.cells[-1], throughput_rps=Estimate(wrong, wrong, wrong)),))
    for form, read in ((ResultFormat.JSON, from_json), (ResultFormat.PARQUET, from_parquet)):
        (row,) = read(exported(broken, told, form))
        assert row["throughput_rps"] is None
    assert from_csv(exported(broken, told, ResultFormat.CSV))[0]["throughput_rps"] == ""


def test_every_column_is_documented_in_the_file_and_in_the_docs(night: NightSummary, told: Told) -> None:
    assert len(set(NAMES)) == len(NAMES)
    document = json.loads(exported(night, told, ResultFormat.JSON))
    assert list(document["columns"]) == NAMES
    table = pyarrow.parquet.read_table(io.BytesIO(exported(night, told, ResultFormat.PARQUET)))
    described = {field.name: field.metadata[b"description"].decode() for field in table.schema}
    assert described == document["columns"]
    assert table.schema.metadata[b"nightbench_run_id"].decode() == night.run.run_id
    docs = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    for column in COLUMNS:
        if not column.name.endswith(("_low", "_high")):
            assert f"| `{column.name}` | {column.kind} | {column.meaning} |" in docs


def test_a_pdf_is_the_same_whenever_it_is_made(night: NightSummary, told: Told) -> None:
    first = as_pdf(night, told)
    assert first.startswith(b"%PDF-")
    assert as_pdf(night, told) == first


def test_a_pdf_survives_letters_that_its_fonts_lack(night: NightSummary, told: Told) -> None:
    odd = "模型 \N{GREEK SMALL LETTER LAMDA} \x1b[31m \N{GREATER-THAN OR EQUAL TO}"
    named = replace(night, cells=tuple(replace(cell, model=odd) for cell in night.cells))
    assert as_pdf(named, told).startswith(b"%PDF-")


def test_a_run_that_measured_nothing_can_be_exported(empty_night: NightSummary) -> None:
    assert from_csv(exported(empty_night, Told(), ResultFormat.CSV)) == []
    assert from_json(exported(empty_night, Told(), ResultFormat.JSON)) == []
    assert from_parquet(exported(empty_night, Told(), ResultFormat.PARQUET)) == []
    assert exported(empty_night, Told(), ResultFormat.PDF).startswith(b"%PDF-")
