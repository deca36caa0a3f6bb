"""The very SQL of every panel, on a real Postgres with three weeks of nights: it returns what the panel draws."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text

from dashboards.grafana.expand import Panel, expanded, panels
from dashboards.grafana.files import FOLDER
from db.rollups import roll_up
from tests.dashboards.grafana_frames import frames_of, rows_of
from tests.dashboards.grafana_nights import DOUBTED, FIRST, HOLE, NIGHTS, SLOWER, SPLIT, STEP, run_id
from tests.dashboards.grafana_shape import column, misfits
from tests.dashboards.grafana_store import CHOSEN, WINDOW, filled_postgres

PANELS = list(panels())
_OF_TRITON = {**CHOSEN, "server": "triton", "fingerprint": SPLIT.fingerprint}
_NIGHT_MS = 86_400_000


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with filled_postgres() as opened:
        yield opened


@pytest.fixture
def changed(connection: Connection) -> Iterator[Connection]:
    """The same nights, for a test that changes them; they are as before afterwards."""
    with connection.begin_nested() as until:
        yield connection
        until.rollback()


def _titled(beginning: str) -> Panel:
    return next(each for each in PANELS if each.title.startswith(beginning))


def _night_ms(number: int) -> int:
    return round(FIRST.timestamp() * 1000) + number * _NIGHT_MS


def _choices(panel: Panel) -> Any:
    return _OF_TRITON if panel.dashboard == "nightbench-server" else CHOSEN


@pytest.mark.parametrize("panel", PANELS, ids=lambda each: f"{each.dashboard} {each.number}")
def test_a_panels_rows_are_what_its_type_draws(connection: Connection, panel: Panel) -> None:
    frames = frames_of(connection, panel, WINDOW, _choices(panel))
    frame, *_ = frames
    assert frame.length > 0, "no rows of nights that have all there is"
    assert not misfits(panel, frames)


def test_a_night_without_a_figure_is_a_gap_and_a_doubted_one_stands_apart(connection: Connection) -> None:
    panel = next(each for each in PANELS if each.dashboard == "nightbench-series")
    frame = frames_of(connection, panel, WINDOW, CHOSEN)[0]
    start = round(FIRST.timestamp() * 1000)
    by_night = {round((at - start) / _NIGHT_MS): place for place, at in enumerate(frame.fields[0].values)}
    value, doubted = column(frame, "value").values, column(frame, "doubted").values
    assert value[by_night[DOUBTED]] is None
    assert doubted[by_night[DOUBTED]] > 0
    hole = by_night[min(HOLE)]
    assert (value[hole], doubted[hole]) == (None, None)
    assert [place for place, each in enumerate(doubted) if each is not None] == [by_night[DOUBTED]]
    low, high = column(frame, "95 % low").values, column(frame, "95 % high").values
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


def _notes(connection: Connection, name: str, values: Any) -> list[tuple[int, str]]:
    """The nights that carry a verdict, and the first word of which series."""
    board = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    (note,) = (each for each in board["annotations"]["list"] if each["name"] == "Verdicts")
    fields = {
        each.name: each.values for each in rows_of(connection, expanded(note["target"]["rawSql"], WINDOW, values))
    }
    first = _night_ms(0)
    nights = [round((at - first) / _NIGHT_MS) for at in fields["time"]]
    return list(zip(nights, [words.split(" ")[0] for words in fields["text"]], strict=True))


@pytest.mark.parametrize("name", ["nightbench-series", "nightbench-trends"])
def test_a_verdict_is_noted_again_after_a_night_that_was_fine_or_that_nobody_judged(
    changed: Connection, name: str
) -> None:
    last = NIGHTS - 1
    for of, number, statement in (
        (SLOWER, last, "UPDATE judgements SET verdict = 'suspected'"),
        (SLOWER, STEP + 1, "UPDATE judgements SET verdict = 'ok'"),
        (SLOWER, last - 1, "DELETE FROM judgements"),
        (SPLIT, STEP + 2, "UPDATE judgements SET verdict = 'suspected'"),
        (SPLIT, STEP + 3, "UPDATE judgements SET verdict = 'improved'"),
    ):
        changed.execute(
            text(f"{statement} WHERE run_id = :run AND fingerprint = :of"),
            {"run": run_id(number), "of": of.fingerprint},
        )
    slower = [(night, "onnxruntime") for night in (STEP, STEP + 2, last)]
    split = [(STEP + 2, "triton"), (STEP + 3, "triton")]
    assert _notes(changed, name, CHOSEN) == slower
    both = {**CHOSEN, "fingerprint": [SLOWER.fingerprint, SPLIT.fingerprint]}
    assert sorted(_notes(changed, name, both)) == sorted(slower + split)


_FAILED = "Requests that failed"


def _drawn(connection: Connection, beginning: str) -> dict[tuple[str, float], float | None]:
    """What a panel over nights draws, by line and time."""
    time, *lines = frames_of(connection, _titled(beginning), WINDOW, CHOSEN)[0].fields
    return {(line.shown, at): value for line in lines for at, value in zip(time.values, line.values, strict=True)}


def _counted(connection: Connection, query: str) -> dict[tuple[str, float], float]:
    """The same, counted from what was stored."""
    metric, time, value = rows_of(connection, query)
    return dict(zip(zip(metric.values, time.values, strict=True), value.values, strict=True))


def test_the_share_of_failed_requests_is_that_of_all_cells_rolled_up_or_not(changed: Connection) -> None:
    stored = _counted(
        changed,
        "SELECT server, run_started_at, 100.0 * sum(failed_count) / sum(ok_count + failed_count)"
        " FROM measurement_facts GROUP BY 1, 2",
    )
    assert {value > 0 for value in stored.values()} == {True, False}
    seen = _drawn(changed, _FAILED)
    assert {key: value for key, value in seen.items() if value is not None} == pytest.approx(stored)
    changed.execute(text("DELETE FROM night_rollups WHERE run_id > :run"), {"run": run_id(STEP)})
    assert _drawn(changed, _FAILED) == seen
    changed.execute(text("DELETE FROM night_rollups"))
    assert _drawn(changed, _FAILED) == seen


def test_a_server_without_requests_in_a_night_has_a_gap_and_one_without_any_no_line(changed: Connection) -> None:
    before = _drawn(changed, _FAILED)
    changed.execute(
        text("UPDATE night_servers SET ok_count = 0, failed_count = 0 WHERE server = 'triton' AND run_id = :run"),
        _LAST_NIGHT,
    )
    gap = ("triton", _night_ms(NIGHTS - 1))
    assert _drawn(changed, _FAILED) == {**before, gap: None}
    changed.execute(text("UPDATE night_servers SET ok_count = 0, failed_count = 0 WHERE server = 'triton'"))
    others = {key: value for key, value in before.items() if key[0] != "triton"}
    assert _drawn(changed, _FAILED) == others


def test_series_are_counted_once_at_each_reason_to_doubt_them(connection: Connection) -> None:
    stored = _counted(
        connection,
        "SELECT reason, night, count(DISTINCT fingerprint)"
        " FROM series_trend CROSS JOIN LATERAL unnest(doubts) AS doubt (reason) GROUP BY 1, 2",
    )
    assert len({reason for reason, _ in stored}) > 1
    seen = _drawn(connection, "Series doubted by reason")
    assert {key: value for key, value in seen.items() if value is not None} == stored


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
        column(frames_of(connection, panel, WINDOW, {**CHOSEN, "price": price})[0], "cost per million").values
        for price in ("1", "3.5")
    )
    assert dear == pytest.approx([3.5 * each for each in cheap])


def test_the_heat_map_counts_every_successful_request_of_the_histograms(connection: Connection) -> None:
    panel = next(each for each in PANELS if each.type == "heatmap")
    frame = frames_of(connection, panel, WINDOW, {**CHOSEN, "fingerprint": SLOWER.fingerprint})[0]
    assert {sum(night) for night in zip(*(row.values for row in frame.fields[1:]), strict=True)} == {600.0}


_LAST_NIGHT = {"run": CHOSEN["run"]}
_ALL_FIGURES = "All figures of the night"


def _compared(connection: Connection) -> dict[str, dict[str, Any]]:
    """The table of Compare, by series."""
    fields = frames_of(connection, _titled(_ALL_FIGURES), WINDOW, CHOSEN)[0].fields
    names = [each.shown for each in fields]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*(each.values for each in fields), strict=True))
    return {str(row["fingerprint"]): row for row in rows}


def _roll_up_anew(connection: Connection) -> None:
    connection.execute(text("DELETE FROM night_rollups WHERE run_id = :run"), _LAST_NIGHT)
    roll_up(connection, [str(CHOSEN["run"])])


def test_figures_per_gpu_stay_when_telemetry_goes_and_are_none_where_nobody_looked(changed: Connection) -> None:
    machine = _compared(changed)
    second = "SELECT run_id, cell_id, ordinal + 100, 'gpu1', metric, offset_ms, \"values\" FROM telemetry"
    changed.execute(text(f"INSERT INTO telemetry {second} WHERE run_id = :run AND source = 'gpu0'"), _LAST_NIGHT)
    _roll_up_anew(changed)
    seen = _compared(changed)
    for series, row in seen.items():
        assert row["gpus"] == 2
        assert row["per GPU"] == pytest.approx(machine[series]["per GPU"] / 2)
        assert row["energy"] == pytest.approx(machine[series]["energy"] * 2)
    changed.execute(text("DELETE FROM telemetry"))
    assert _compared(changed) == seen
    _roll_up_anew(changed)
    for series, row in _compared(changed).items():
        assert [row[name] for name in ("gpus", "per GPU", "per GPU low", "energy")] == [None] * 4
        assert row["cost"] == seen[series]["cost"]
    for panel in (_titled("Throughput per GPU"), _titled("What batch size does")):
        assert frames_of(changed, panel, WINDOW, CHOSEN)[0].length == 0
    changed.execute(text("""UPDATE runs SET context = context || '{"gpu": "none"}' WHERE run_id = :run"""), _LAST_NIGHT)
    _roll_up_anew(changed)
    for series, row in _compared(changed).items():
        assert (row["gpus"], row["per GPU"]) == (0, pytest.approx(machine[series]["per GPU"]))


def test_a_doubt_takes_the_energy_and_not_the_number_of_gpus(changed: Connection) -> None:
    doubts = """[{"reason": "foreign_load", "detail": "", "figures": []}]"""
    changed.execute(
        text("UPDATE measurements SET doubts = CAST(:doubts AS JSONB) WHERE run_id = :run"),
        {**_LAST_NIGHT, "doubts": doubts},
    )
    _roll_up_anew(changed)
    assert {(row["gpus"], row["energy"]) for row in _compared(changed).values()} == {(1, None)}


def test_series_that_differ_in_precision_alone_are_two_lines(changed: Connection) -> None:
    columns = rows_of(changed, "SELECT column_name FROM information_schema.columns WHERE table_name = 'cases'")[0]
    names = ", ".join(sorted(columns.values))
    quantised = names.replace("fingerprint", "'int8'").replace("precision", "'int8'")
    of = {"fingerprint": SLOWER.fingerprint}
    changed.execute(
        text(f"INSERT INTO cases ({names}) SELECT {quantised} FROM cases WHERE fingerprint = :fingerprint"),  # noqa: S608 - of names
        of,
    )
    changed.execute(
        text(
            "INSERT INTO series_points (suite, fingerprint, metric, run_id, value, low, high, doubts)"
            " SELECT suite, 'int8', metric, run_id, value * 10, low * 10, high * 10, doubts"
            " FROM series_points WHERE fingerprint = :fingerprint"
        ),
        of,
    )
    chosen = {**CHOSEN, "fingerprint": [SLOWER.fingerprint, "int8"]}
    panel = next(each for each in PANELS if each.dashboard == "nightbench-trends" and each.title.startswith("${metric"))
    both = frames_of(changed, panel, WINDOW, chosen)[0].fields[1:]
    assert {each.shown for each in both} == {
        f"onnxruntime resnet50 onnx {precision} b8 raw-http closed c4" for precision in ("fp32", "int8")
    }
    fp32, int8 = ([pytest.approx(value) for value in each.values] for each in both)
    assert fp32 == int8, "each against its own median"
    alone = frames_of(changed, panel, WINDOW, CHOSEN)[0].fields[1]
    assert alone.values == both[0].values


@pytest.mark.parametrize(
    ("metric", "column"),
    [("latency_p50_ns", "doubted round"), ("throughput_rps", "round"), ("latency_p99_ns", "round")],
)
def test_a_round_is_doubted_in_the_figures_that_its_doubts_name(changed: Connection, metric: str, column: str) -> None:
    doubts = """[{"reason": "bimodal", "detail": "", "figures": ["p50"]}]"""
    changed.execute(text("UPDATE measurements SET doubts = CAST(:doubts AS JSONB)"), {"doubts": doubts})
    frame = frames_of(changed, _titled("Each round"), WINDOW, {**CHOSEN, "metric": metric})[0]
    shown = {each.shown: any(value is not None for value in each.values) for each in frame.fields[1:]}
    assert shown == {"round": column == "round", "doubted round": column == "doubted round"}


def test_doubted_rounds_are_not_split_into_waiting_and_computing(connection: Connection) -> None:
    frame = frames_of(connection, _titled("Waiting and computing"), WINDOW, _OF_TRITON)[0]
    nights = set(frame.fields[0].values)
    assert _night_ms(DOUBTED) not in nights
    assert {_night_ms(DOUBTED - 1), _night_ms(DOUBTED + 1)} <= nights


def test_nights_are_named_in_utc_wherever_the_database_is(changed: Connection) -> None:
    changed.execute(text("SET LOCAL TIME ZONE 'Asia/Tokyo'"))
    board = json.loads((FOLDER / "nightbench-morning.json").read_text(encoding="utf-8"))
    (night,) = (each for each in board["templating"]["list"] if each["name"] == "run")
    names = rows_of(changed, expanded(night["query"], WINDOW, CHOSEN))[0].values
    assert names[0] == f"2026-11-19 02:00 UTC · {CHOSEN['run']}"
