"""The drift report: it finds what moved, needs nothing but a browser, and never stands in the way of a night."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

import tasks.drift
from nightbench.drift import POINTS, latency_drifts, output_drifts, shift
from nightbench.figures import Doubt, Reason
from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop
from nightbench.record import MeasurementRecord, Record
from tasks.apart import Unanswered
from tests.tasks.made_nights import HARDWARE, RUN, answered, measured, night, plan

CELLS = plan(closed=4, opened=1, rounds=2)
WINDOW = [night(CELLS, run_id=f"before-{number}", slower=1.0 + 0.01 * number) for number in range(3)]


def slower(records: Sequence[Record], label: str, factor: float) -> list[Record]:
    """The night with one cell's latencies times ``factor``."""
    cells = {cell.cell_id: cell for cell in CELLS}
    return [
        measured(cells[record.cell_id], slower=factor)
        if isinstance(record, MeasurementRecord) and record.case.load.label == label
        else record
        for record in records
    ]


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(0.1, 10.0))
def test_the_shift_of_a_distribution_that_is_scaled_is_the_logarithm_of_the_factor(
    values: list[float], factor: float
) -> None:
    values = sorted(values)
    assert math.isclose(
        shift([factor * value for value in values], values), abs(math.log(factor)), rel_tol=1e-9, abs_tol=1e-12
    )
    assert shift(values, values) == 0.0


@given(st.integers(0, 2**32 - 1))
def test_the_shift_is_the_wasserstein_distance_of_the_logarithms(seed: int) -> None:
    draw = np.random.default_rng(seed)
    one, other = np.sort(draw.lognormal(0, 0.5, 200)), np.sort(draw.lognormal(0.1, 0.8, 200))
    assert math.isclose(shift(one, other), wasserstein_distance(np.log(one), np.log(other)), rel_tol=1e-9)


def test_what_moved_comes_first_by_how_much_and_the_rest_hardly_differs() -> None:
    tonight = slower(night(CELLS), "closed c3", 1.5)
    found = latency_drifts(tonight, WINDOW, 12)
    assert len(found) == 5
    assert found[0].name == "latency (ms): toy tiny fp32 b1 raw-http closed c3"
    assert abs(found[0].shift - math.log(1.5 / 1.01)) < 0.01
    assert all(drift.shift < 0.02 for drift in found[1:])
    assert [drift.name for drift in latency_drifts(tonight, WINDOW, 1)] == [found[0].name]


def test_a_distribution_is_that_of_all_rounds_and_nights_in_milliseconds() -> None:
    (drift,) = (each for each in latency_drifts(night(CELLS), WINDOW, 9) if each.name.endswith("closed c2"))
    tonight = [cell for cell in CELLS if cell.load == ClosedLoop(2)]
    merged = LatencyHistogram.merge(LatencyHistogram.decode(measured(cell).histogram) for cell in tonight)
    for level in (0.011, 0.501, 0.901, 0.991):
        at = drift.tonight[int(level * POINTS)]
        assert abs(at / (merged.quantile_ns(level) / 1e6) - 1.0) < 0.01
    assert np.all(np.diff(drift.tonight) >= 0.0)
    assert drift.window.shape == drift.tonight.shape == (POINTS,)


def test_another_fingerprint_and_a_doubted_round_are_no_window() -> None:
    other = [
        replace(record, case=replace(record.case, version=2)) if isinstance(record, MeasurementRecord) else record
        for record in WINDOW[0]
    ]
    assert latency_drifts(night(CELLS), [other], 12) == []

    def doubted(reason: Reason, figures: tuple[str, ...] = ()) -> list[Record]:
        doubt = (Doubt(reason, "so it was", figures),)
        return [
            replace(record, doubts=doubt) if isinstance(record, MeasurementRecord) else record for record in WINDOW[0]
        ]

    assert latency_drifts(night(CELLS), [doubted(Reason.FOREIGN_LOAD)], 12) == []
    assert len(latency_drifts(night(CELLS), [doubted(Reason.TOO_FEW_SAMPLES)], 12)) == 5
    assert len(latency_drifts(night(CELLS), [doubted(Reason.BIMODAL, ("p50",))], 12)) == 5


def test_answers_drift_by_figure_and_exact_ones_do_not() -> None:
    found = output_drifts([answered(nrmse=6e-7), answered(nrmse=6e-7, deployment="toy-r2")], WINDOW, 12)
    assert [drift.name for drift in found] == [
        f"{figure}: toy tiny onnx fp32 raw-http b1 logits" for figure in ("max abs", "nrmse", "1 - cosine")
    ]
    assert [round(drift.shift, 6) for drift in found] == [round(math.log(3.0), 6)] * 2 + [0.0]
    exact = output_drifts([answered(nrmse=0.0)], [[answered(nrmse=0.0)]], 12)
    assert [drift.shift for drift in exact] == [0.0, 0.0, 0.0]


def test_what_is_no_number_or_got_no_answer_is_for_the_parity_check() -> None:
    wrong = replace(answered(), nrmse=math.nan, max_abs=math.inf, cosine=math.nan)
    assert output_drifts([wrong], WINDOW, 12) == []
    assert output_drifts([replace(answered(), answered=False)], WINDOW, 12) == []


@dataclass
class Shelf:
    """Stands in for the database."""

    nights: dict[str, list[Record]]
    status: str = "completed"
    hardware: str = HARDWARE
    read: list[str] = field(default_factory=list)

    def history(self, limit: int, suite: str) -> list[Any]:
        assert suite == "made-up"
        return [SimpleNamespace(run_id=run_id, status=self.status, hardware=self.hardware) for run_id in self.nights][
            :limit
        ]

    def records(self, run_id: str) -> list[Record]:
        self.read.append(run_id)
        return self.nights[run_id]


@dataclass
class Listener:
    folder: Path
    store: Shelf | None
    notes: list[str] = field(default_factory=list)

    @property
    def session(self) -> Any:
        return SimpleNamespace(
            run_id=RUN,
            suite=SimpleNamespace(name="made-up"),
            settings=None,
            hardware=HARDWARE,
            folder=self.folder,
            store=self.store,
            progress=SimpleNamespace(note=self.notes.append, doing=lambda _: None),
        )


@pytest.fixture(autouse=True)
def tonight(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    records = slower(night(CELLS, nrmse=6e-7), "closed c3", 1.5)
    monkeypatch.setattr(tasks.drift, "spooled_records", lambda *_: tuple(records))
    return records


def shelf(**given_: Any) -> Shelf:
    return Shelf({RUN: [], **{f"before-{number}": records for number, records in enumerate(WINDOW)}}, **given_)


def test_the_page_holds_all_that_it_needs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A night can do without the page where the machine is busy, a test cannot.
    monkeypatch.setattr(tasks.drift, "_PATIENCE_S", 600.0)
    listener = Listener(tmp_path, shelf())
    path = tasks.drift.write_drift_report(listener.session)
    assert path == tmp_path / "drift.html"
    assert listener.notes == []
    assert capfd.readouterr() == ("", "")
    page = path.read_text(encoding="utf-8")
    assert page.index("default-src 'none'") < page.index("<script")
    assert not re.search(r"""<(script|link|img|iframe)[^>]*\s(src|href)=["']?(https?:)?//""", page)
    # Its scripts know the word: what counts is whether a sheet names an address.
    assert not re.search(r"(@import\s*|url\(\s*)[\"']?https?:", page)
    for said in ("toy tiny fp32 b1 raw-http closed c3", "nrmse: toy tiny", "the 3 nights before", 'href="report.html"'):
        assert said in page
    assert RUN not in (listener.store or shelf()).read


def test_without_a_night_before_there_is_a_note_and_no_page(tmp_path: Path) -> None:
    for store in (Shelf({RUN: []}), shelf(status="cancelled"), shelf(hardware="another")):
        listener = Listener(tmp_path, store)
        assert tasks.drift.write_drift_report(listener.session) is None
        assert "no completed night" in listener.notes[0]
        assert store.read == []
    listener = Listener(tmp_path, Shelf({"before": []}))
    assert tasks.drift.write_drift_report(listener.session) is None
    assert "nothing measured tonight was measured in the nights before" in listener.notes[0]
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_database_has_no_report_and_no_note(tmp_path: Path) -> None:
    listener = Listener(tmp_path, None)
    assert tasks.drift.write_drift_report(listener.session) is None
    assert listener.notes == []


def test_no_more_nights_are_read_than_there_is_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.drift, "_READ_S", -1.0)
    store = shelf()
    assert tasks.drift.write_drift_report(Listener(tmp_path, store).session) is None
    assert store.read == []
    monkeypatch.setattr(tasks.drift, "_READ_S", 1e9)
    monkeypatch.setattr(tasks.drift, "ask", lambda *_: {})
    many = Shelf({f"before-{number}": WINDOW[0] for number in range(20)})
    tasks.drift.write_drift_report(Listener(tmp_path, many).session)
    assert many.read == [f"before-{number}" for number in range(7)]


def test_a_report_that_cannot_be_drawn_ends_no_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> object:
        raise Unanswered("tasks.drift_report did not answer within 60 s")

    monkeypatch.setattr(tasks.drift, "ask", late)
    listener = Listener(tmp_path, shelf())
    assert tasks.drift.write_drift_report(listener.session) is None
    assert listener.notes == ["the drift report could not be made: tasks.drift_report did not answer within 60 s"]
    monkeypatch.setattr(tasks.drift, "find_spec", lambda _: None)
    assert tasks.drift.write_drift_report(listener.session) is None
    assert "not installed" in listener.notes[1]
