"""The dashboards as committed: fresh, complete in words and units, linked, and without an opinion of Grafana's."""

import json
import re
from typing import Any

import pytest

from dashboards.grafana.expand import Window, expanded, panels
from dashboards.grafana.files import FOLDER, rendered
from dashboards.grafana.links import SERIES
from dashboards.grafana.tiles import COLUMNS
from dashboards.grafana.variables import METRICS
from nightbench.judge.message import DASHBOARD
from nightbench.judge.series import Metric
from tests.dashboards.grafana_nights import FIRST, LAST

PANELS = list(panels())
BOARDS = {name: json.loads((FOLDER / name).read_text(encoding="utf-8")) for name in rendered()}
WINDOW = Window(FIRST, LAST)


def ids(each: Any) -> str:
    return f"{each.dashboard} {each.number}"


def test_the_committed_json_is_what_the_code_writes() -> None:
    """`python -m dashboards.grafana` makes it so."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert committed == rendered()


def test_the_link_of_a_message_leads_to_a_dashboard_that_takes_its_variables() -> None:
    assert SERIES == DASHBOARD
    names = {each["name"] for each in BOARDS[f"{DASHBOARD}.json"]["templating"]["list"]}
    assert {"suite", "fingerprint", "metric"} <= names
    assert set(METRICS) == set(Metric)


@pytest.mark.parametrize("panel", PANELS, ids=ids)
def test_every_panel_says_what_it_shows_and_in_which_unit(panel: Any) -> None:
    assert len(panel.json["description"]) > 20
    unit = r"(, [\w%°/ ,]+|\$\{metric:text\}|in the currency of the price)$"
    assert re.search(unit, panel.title), f"{panel.title!r} has no unit"
    assert panel.queries


@pytest.mark.parametrize("panel", PANELS, ids=ids)
def test_grafana_draws_no_threshold_and_no_line_over_a_gap(panel: Any) -> None:
    defaults = panel.json["fieldConfig"]["defaults"]
    assert defaults["thresholds"]["steps"] == [{"value": None, "color": "text"}]
    assert defaults["color"]["mode"] in {"fixed", "palette-classic"}
    if panel.type in {"timeseries", "trend"}:
        assert defaults["custom"]["spanNulls"] is False


@pytest.mark.parametrize("name", BOARDS)
def test_panels_lie_on_the_grid_without_covering_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("name", BOARDS)
def test_queries_use_variables_that_the_dashboard_has_and_every_link_leads_somewhere(name: str) -> None:
    board = BOARDS[name]
    known = {each["name"] for each in board["templating"]["list"]}
    text = json.dumps(board, ensure_ascii=False)
    used = set(re.findall(r"\$\{(\w+)(?::\w+)?\}", text)) - {"__url_time_range"}
    assert used <= known, used - known
    uids = {path.removesuffix(".json") for path in BOARDS}
    linked = set(re.findall(r'"/d/([\w-]+)/', text))
    assert linked <= uids
    assert board["links"][0]["tags"] == board["tags"]
    assert re.search(r'"/d/|"links": \[', text)


def test_a_link_gives_only_variables_that_its_dashboard_has() -> None:
    for board in BOARDS.values():
        for uid, query in re.findall(r'"/d/([\w-]+)/\?([^"]+)"', json.dumps(board)):
            known = {each["name"] for each in BOARDS[f"{uid}.json"]["templating"]["list"]}
            assert set(re.findall(r"var-(\w+)=", query)) <= known, (uid, query)


def test_macros_and_variables_become_what_grafana_sends() -> None:
    sql = (
        "WHERE $__timeFilter(night) AND suite IN (${suite:sqlstring})"
        " GROUP BY $__timeGroup(night, '1d'), $__interval_ms"
    )
    window = Window(FIRST.replace(microsecond=250_000), LAST, interval_s=60)
    assert expanded(sql, window, {"suite": ["a", "it's"]}) == (
        "WHERE night BETWEEN '2026-10-30T02:00:00.25Z' AND '2026-11-19T02:00:00Z' AND suite IN ('a','it''s')"
        " GROUP BY floor(extract(epoch from night)/86400)*86400, 60000"
    )
    assert expanded("$__timeFrom() $__unixEpochFilter(x)", WINDOW, {}) == (
        "'2026-10-30T02:00:00Z' x >= 1793325600 AND x <= 1795053600"
    )


@pytest.mark.parametrize("sql", ["${suite}", "${suite:raw}"])
def test_an_unquoted_variable_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="sqlstring"):
        expanded(sql, WINDOW, {"suite": "x"})
