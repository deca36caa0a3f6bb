"""The arena's page: whole, offline, with the figures that the records hold."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from dashboards.arena import tables
from dashboards.arena.page import render, write
from dashboards.arena.plots import drawn
from dashboards.offline import write_whole
from nightbench.arena import Arena, Metric, Standing, Written, arena
from nightbench.figures import Doubt, Reason
from nightbench.summary import NightSummary
from tests.nightbench.test_arena import MODELS, WRITTEN, night


@pytest.fixture(scope="module")
def made() -> NightSummary:
    return night()


@pytest.fixture(scope="module")
def found(made: NightSummary) -> Arena:
    files = WRITTEN | {"one": (Written("<script>alert(1)</script>", 1),)}
    return arena(made, MODELS, 3.6, lambda cell: files[cell.server], (Written("pipeline.py", 60),))


@pytest.fixture(scope="module")
def page(made: NightSummary, found: Arena) -> str:
    return render(made, found)


def scripts(page: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", page, re.DOTALL)


def test_only_its_own_scripts_may_run_and_nothing_is_fetched(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'")
    assert allowed.startswith("default-src 'none'")
    for script in scripts(page):
        assert f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}" in allowed
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<(link|img|iframe)|@import|url\(|src=", shown)


def test_names_of_files_are_text(page: str) -> None:
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_every_plot_draws_every_architecture(made: NightSummary, found: Arena, page: str) -> None:
    titles = [plot.title for plot in drawn(made, found).plots]
    assert titles == ["p50 latency", "p99 latency", "throughput", "p50 latency against throughput"]
    specs = [json.loads(text) for text in re.findall(r'data-plot="plot-\d+">(.*?)</script>', page, re.DOTALL)]
    for spec in specs:
        assert {trace["name"] for trace in spec["data"]} == {"one", "two"}
    rates = next(trace for trace in specs[2]["data"] if trace["name"] == "one")
    assert rates["x"] == [1, 4, 8]
    assert rates["y"] == pytest.approx([10.0] * 3, rel=0.01)


def test_the_tables_hold_the_figures(found: Arena, page: str) -> None:
    (first, *_) = tables.loads(found)[4]
    figures = dict(zip(tables.COLUMNS, first.figures, strict=True))
    assert first.architecture == "one"
    assert figures["CPU a request"].unit == "ms"
    assert float(figures["CPU a request"].value) == pytest.approx(100, rel=0.01)
    assert figures["cost a million"].unit == ""
    assert float(figures["cost a million"].value) == pytest.approx(100, rel=0.01)
    assert all(figure.value in page for figure in first.figures)
    assert "Lowest p50 latency: one at 1 in flight" in page


def test_figures_are_doubted_with_those_that_they_are_made_from(made: NightSummary, found: Arena) -> None:
    short = (Doubt(Reason.TOO_FEW_SAMPLES, "too short for a throughput", ("throughput_rps",)),)
    one, two = found.architectures
    level = replace(one.levels[0], cell=replace(one.levels[0].cell, doubts=short))
    doubted = replace(found, architectures=(replace(one, levels=(level,)), two))
    (row, _) = tables.loads(doubted)[1]
    assert not row.doubted
    named = {name for name, each in zip(tables.COLUMNS, row.doubts, strict=True) if each}
    assert named == {"throughput", "CPU a request", "cost a million"}
    assert render(made, doubted).count('class="n doubted"') == 3


def test_failed_starts_are_told(made: NightSummary, found: Arena) -> None:
    one, two = found.architectures
    assert one.deployment is not None
    assert tables.starts(one) == "3"
    failing = replace(one, deployment=replace(one.deployment, starts=4, failed=1))
    assert tables.starts(failing) == "4 (1 failed)"
    assert "4 (1 failed)" in render(made, replace(found, architectures=(failing, two)))


def test_who_did_not_compete_is_in_brackets(found: Arena) -> None:
    alone = Standing(Metric.P50, 16, ("one", "two"), ("three",))
    none = Standing(Metric.P99, 16, (), ("two", "three"))
    assert tables.standings(replace(found, standings=(alone, none))) == [
        (16, ["one, two (without three)", "\N{EN DASH}"])
    ]


def test_it_is_written_whole_or_not_at_all(
    made: NightSummary, found: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(made, found, tmp_path / "deep" / "arena.html")
    assert path.read_text().rstrip().endswith("</html>")

    def fails(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        write_whole("another", path)
    assert path.read_text().rstrip().endswith("</html>")
    assert [each.name for each in path.parent.iterdir()] == ["arena.html"]
