"""The very SQL of every panel, on a real Postgres with three weeks of nights: it returns what the panel draws."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection

from dashboards.grafana.expand import Panel, expanded, panels
from dashboards.grafana.files import FOLDER
from tests.dashboards.grafana_frames import Frame, frames_of, rows_of
from tests.dashboards.grafana_nights import DOUBTED, FIRST, HOLE, SLOWER, SPLIT
from tests.dashboards.grafana_store import CHOSEN, WINDOW, filled_postgres

PANELS = list(panels())
_OF_TRITON = {**CHOSEN, "server": "triton", "fingerprint": SPLIT.fingerprint}
_NIGHT_MS = 86_400_000


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with filled_postgres() as opened:
        yield opened


def _choices(panel: Panel) -> Any:
    return _OF_TRITON if panel.dashboard == "nightbench-server" else CHOSEN


def _column(frame: Frame, name: str) -> Any:
    return next(each for each in frame.fields if each.shown == name)


@pytest.mark.parametrize("panel", PANELS, ids=lambda each: f"{each.dashboard} {each.number}")
def test_a_panels_rows_are_what_its_type_draws(connection: Connection, panel: Panel) -> None:
    frames = frames_of(connection, panel, WINDOW, _choices(panel))
    frame, *_ = frames
    assert frame.length > 0, "no rows of nights that have all there is"
    types = [each.type for each in frame.fields]
    names = {each.shown for each in frame.fields}
    if panel.type in {"timeseries", "heatmap"}:
        assert types[0] == "time"
        assert set(types[1:]) == {"number"}
    elif panel.type == "state-timeline":
        assert types[0] == "time"
        assert "string" in types
    elif panel.type == "trend":
        x = _column(frame, panel.json["options"]["xField"])
        assert x.type == "number"
        assert all(first <= second for first, second in pairwise(x.values))
    elif panel.type == "barchart":
        assert _column(frame, panel.json["options"]["xField"]).type == "string"
        assert "number" in types
    elif panel.type == "bargauge":
        shown = panel.json["options"]["reduceOptions"]["fields"].strip("/^$")
        assert _column(frame, shown).type == "number"
        assert types.count("string") == 1
    elif panel.type == "xychart":
        for series in panel.json["options"]["series"]:
            assert {_column(frame, series[axis]["matcher"]["options"]).type for axis in "xy"} == {"number"}
    elif panel.type == "stat":
        assert set(types) == {"number"}
        assert frame.length == 1
    for override in panel.json["fieldConfig"]["overrides"]:
        assert override["matcher"]["options"] in names, "an override of a column that is not there"
    for other in frames[1:]:
        assert [each.values for each in other.fields] == [["reqps"]]


def test_a_night_without_a_figure_is_a_gap_and_a_doubted_one_stands_apart(connection: Connection) -> None:
    panel = next(each for each in PANELS if each.dashboard == "nightbench-series")
    frame = frames_of(connection, panel, WINDOW, CHOSEN)[0]
    start = round(FIRST.timestamp() * 1000)
    by_night = {round((at - start) / _NIGHT_MS): place for place, at in enumerate(frame.fields[0].values)}
    value, doubted = _column(frame, "value").values, _column(frame, "doubted").values
    assert value[by_night[DOUBTED]] is None
    assert doubted[by_night[DOUBTED]] > 0
    hole = by_night[min(HOLE)]
    assert (value[hole], doubted[hole]) == (None, None)
    assert [place for place, each in enumerate(doubted) if each is not None] == [by_night[DOUBTED]]
    low, high = _column(frame, "95 % low").values, _column(frame, "95 % high").values
    assert all(
        least <= middle <= most for least, middle, most in zip(low, value, high, strict=True) if middle is not None
    )


_LINES = [
    panel
    for panel in PANELS
    if panel.type == "timeseries"
    and panel.json["fieldConfig"]["defaults"]["custom"]["drawStyle"] == "line"
    and not panel.title.startswith("Each round")
]


@pytest.mark.parametrize("panel", _LINES, ids=lambda each: f"{each.dashboard} {each.number}")
def test_no_line_crosses_nights_that_never_ran(connection: Connection, panel: Panel) -> None:
    frame = frames_of(connection, panel, WINDOW, _choices(panel))[0]
    hole = round(FIRST.timestamp() * 1000) + min(HOLE) * _NIGHT_MS
    place = frame.fields[0].values.index(hole)
    assert {each.values[place] for each in frame.fields[1:]} == {None}


@pytest.mark.parametrize("name", ["nightbench-series", "nightbench-trends"])
def test_a_verdict_is_noted_once_and_a_step_where_it_lies(connection: Connection, name: str) -> None:
    board = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    verdicts, steps = (
        {each.name: each.values for each in rows_of(connection, expanded(note["target"]["rawSql"], WINDOW, CHOSEN))}
        for note in board["annotations"]["list"]
    )
    assert [text.split(": ")[1] for text in verdicts["text"]] == ["suspected", "regressed"]
    assert steps["time"] == verdicts["time"][:1]
    assert "steps by -11.0 %" in steps["text"][0]


def test_every_variable_has_something_to_choose(connection: Connection) -> None:
    for path in FOLDER.glob("nightbench-*.json"):
        for variable in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]:
            if variable["type"] == "query":
                columns = rows_of(connection, expanded(variable["query"], WINDOW, CHOSEN))
                assert columns[0].values, (path.name, variable["name"])
                assert [each.name for each in columns] in (["__text", "__value"], [columns[0].name])


def test_cost_follows_the_price(connection: Connection) -> None:
    panel = next(each for each in PANELS if each.title.startswith("Cost per million"))
    cheap, dear = (
        _column(frames_of(connection, panel, WINDOW, {**CHOSEN, "price": price})[0], "cost per million").values
        for price in ("1", "3.5")
    )
    assert dear == pytest.approx([3.5 * each for each in cheap])


def test_the_heat_map_counts_every_successful_request_of_the_histograms(connection: Connection) -> None:
    panel = next(each for each in PANELS if each.type == "heatmap")
    frame = frames_of(connection, panel, WINDOW, {**CHOSEN, "fingerprint": SLOWER.fingerprint})[0]
    assert {sum(night) for night in zip(*(row.values for row in frame.fields[1:]), strict=True)} == {600.0}
