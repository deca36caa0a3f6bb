"""The page as a reader gets it: complete, offline, and deaf to what servers wrote in their logs."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from dashboards.report import doubts
from dashboards.report.page import render, write
from nightbench.figures import Reason
from nightbench.summary import NightSummary

_LOADS = {"src", "srcset", "href", "action", "data", "poster", "background", "formaction", "xlink:href"}


class _Reader(HTMLParser):
    """Elements with their attributes, scripts apart from the text a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.words: list[str] = []
        self._inside: str = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        self.elements.append((tag, held))
        self._inside = tag
        if tag == "script":
            self._inside = "data" if held.get("type") == "application/json" else "script"

    def handle_data(self, data: str) -> None:
        holder = {"script": self.scripts, "style": self.styles}.get(self._inside, self.words)
        if self._inside != "data":
            holder.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def rows(self) -> dict[str, str]:
        """Classes of each cell's row by cell key."""
        return {held["data-cell"]: held["class"] for tag, held in self.elements if "data-cell" in held}


@pytest.fixture(scope="module")
def page(night: NightSummary) -> str:
    return render(night)


@pytest.fixture(scope="module")
def reader(page: str) -> _Reader:
    return _Reader(page)


def test_nothing_is_fetched_from_anywhere(reader: _Reader) -> None:
    for tag, held in reader.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        for name in _LOADS & held.keys():
            assert held[name].startswith("#"), (tag, name, held[name])
    assert not re.search(r"@import|url\(", "".join(reader.styles))


def test_the_policy_allows_these_scripts_and_nothing_else(reader: _Reader) -> None:
    policy = next(held["content"] for _, held in reader.elements if "http-equiv" in held)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    for script in reader.scripts:
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
    assert len(reader.scripts) == 2


def test_hostile_log_text_stays_text(page: str, reader: _Reader) -> None:
    assert "<script>alert('log')" not in page
    assert "<script>alert('log')</script> & <img src=http://evil.example/x.png>" in reader.text
    assert "<b>connection refused</b>" in reader.text


def test_every_cell_is_there_measured_or_not(night: NightSummary, reader: _Reader) -> None:
    rows = reader.rows()
    assert rows.keys() == {cell.cell_key for cell in night.cells}
    for cell in night.cells:
        expected = "missing" if not cell.rounds else "doubted" if cell.doubted else "sound"
        assert rows[cell.cell_key] == expected
    assert set(rows.values()) == {"missing", "doubted", "sound"}


def test_a_gap_says_why(reader: _Reader) -> None:
    assert "not measured: parity failed, rounds 1, 2, 3 : logits at batch 4 is off by 0.0312" in reader.text
    assert "not measured: deployment failed, rounds 1, 2, 3 :" in reader.text


def test_doubts_are_named_in_the_row_and_explained(night: NightSummary, reader: _Reader) -> None:
    occurring = {doubt.reason for cell in night.cells for doubt in cell.doubts}
    assert occurring == {Reason.ERRORS, Reason.LATE_SENDS, Reason.FOREIGN_LOAD}
    for reason in Reason:
        assert (doubts.explain(reason) in reader.text) == (reason in occurring)
    assert "late sends : 2 of 3 rounds: p99 of the sending lag was 2.31 ms" in reader.text


def test_every_reason_has_a_title_and_an_explanation() -> None:
    titles = [doubts.title(reason) for reason in Reason]
    assert len(set(titles)) == len(titles)
    assert {"Little's law", "over-saturated", "GPU throttled", "search open"} <= set(titles)
    for reason in Reason:
        assert "_" not in doubts.title(reason)
        assert doubts.explain(reason).endswith(".")


def test_a_night_without_them_has_no_word_of_searches_streams_or_calibrations(reader: _Reader) -> None:
    for word in ("Searches", "Streamed answers", "The client itself", "ended early"):
        assert word not in reader.text


def test_errors_are_counted_by_kind(reader: _Reader) -> None:
    assert re.search(r"105 of [\d,]+ \(\d\.\d %\) 93 http_5xx, 12 timeout", reader.text)


def test_figures_come_with_their_intervals(night: NightSummary, reader: _Reader) -> None:
    cell = next(cell for cell in night.cells if cell.server == "onnxruntime" and cell.rounds)
    estimate = cell.latency_ns["p50"]
    assert estimate.low is not None
    assert f"{estimate.value / 1e6:.2f} [{estimate.low / 1e6:.2f}, " in reader.text


def test_the_parity_failure_is_shown(reader: _Reader) -> None:
    assert "failed max abs 0.0312 exceeds 0.001" in reader.text
    assert "0.9971300" in reader.text


def test_it_says_how_to_repeat_the_night(reader: _Reader) -> None:
    assert "nightbench run smoke --seed 42" in reader.text
    assert "models: [mobilenet_v2]" in reader.text


def test_headings_descend_without_gaps(reader: _Reader) -> None:
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ids_are_unique(reader: _Reader) -> None:
    ids = [held["id"] for _, held in reader.elements if "id" in held]
    assert len(ids) == len(set(ids))


def test_a_night_that_measured_nothing_still_has_a_page(empty_night: NightSummary) -> None:
    reader = _Reader(render(empty_night))
    assert "unfinished" in reader.text
    assert "Nothing was measured." in reader.text
    assert "108 of 108 planned timings" in reader.text
    assert not reader.rows()


def test_hostile_names_do_not_leave_their_place(night: NightSummary) -> None:
    hostile = "</script><script>alert(1)</script>"
    named = replace(
        night,
        run=replace(night.run, suite=hostile, suite_yaml=hostile, context={hostile: hostile}),
        cells=tuple(replace(cell, model=hostile, server=hostile) for cell in night.cells),
        deployments=tuple(replace(setup, model=hostile, server=hostile) for setup in night.deployments),
    )
    page = render(named)
    assert hostile not in page
    assert len(_Reader(page).scripts) == 2


def test_write_is_whole_or_not_at_all(night: NightSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "report.html"
    monkeypatch.setattr("dashboards.report.page.render", lambda night, *_: f"<html>{night.run.suite}</html>\n")
    assert write(night, target) == target
    before = target.read_text(encoding="utf-8")
    assert before.rstrip().endswith("</html>")

    def fail(self: Path, other: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(night, target)
    assert [file.name for file in target.parent.iterdir()] == ["report.html"]
    assert target.read_text(encoding="utf-8") == before
