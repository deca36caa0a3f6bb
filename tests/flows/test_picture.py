"""The night's picture: every measured cell once, drawn to scale, and harmless whatever a server is called."""

from base64 import b64decode
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from flows.picture import MOST_ROWS, data_uri, throughput_svg
from nightbench.figures import Estimate
from nightbench.summary import CellSummary, summarise
from tests.dashboards.conftest import night_records

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def cells() -> list[CellSummary]:
    return [cell for cell in summarise(night_records()).cells if cell.throughput_rps is not None]


def drawn(svg: str) -> tuple[list[float], list[str]]:
    """The width of every bar, and every text."""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    bars = [float(each.attrib["width"]) for each in root.iter(f"{SVG}rect") if each.attrib["width"] != "100%"]
    return bars, [each.text or "" for each in root.iter(f"{SVG}text")]


def test_every_cell_has_a_bar_as_long_as_its_figure(cells: list[CellSummary]) -> None:
    rates = (200.0, 100.0, 50.0)
    few = [replace(cell, throughput_rps=Estimate(rate)) for cell, rate in zip(cells, rates, strict=False)]
    bars, texts = drawn(throughput_svg(few))
    assert bars == pytest.approx([560.0, 280.0, 140.0])
    assert sum("rps" in text or "/s" in text for text in texts) == len(few)


def test_nothing_measured_is_no_picture(cells: list[CellSummary]) -> None:
    assert throughput_svg([replace(cells[0], throughput_rps=None)]) == ""
    assert throughput_svg([]) == ""


def test_a_long_night_is_cut_and_a_rate_of_nothing_is_no_error(cells: list[CellSummary]) -> None:
    bars, _ = drawn(throughput_svg([replace(cells[0], throughput_rps=Estimate(0.0))] * (MOST_ROWS + 5)))
    assert bars == [0.0] * MOST_ROWS


def test_a_name_is_no_markup_and_the_address_holds_the_picture(cells: list[CellSummary]) -> None:
    svg = throughput_svg([replace(cells[0], model="<script>&amp;")])
    assert "<script>" not in svg
    assert any("<script>&amp;" in text for text in drawn(svg)[1])
    assert b64decode(data_uri(svg).partition(",")[2]).decode() == svg
