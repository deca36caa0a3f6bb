"""Located change points: from a series' nights through another interpreter and back, by a stand-in for Otava.

The real one is asked in ``tests/conformance/test_otava.py``.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dashboards.otava import OTAVA
from nightbench.errors import DeploymentError, NightbenchError
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import ChangePoint, Metric, Point, SeriesKey
from nightbench.stopping import Stopped
from tasks import changes
from tasks.changes import locate, locate_changes, steps
from tasks.session import Cancelled, Session

# One step, where the values first differ from the first one, if it is large enough.
STAND_IN = """
from types import SimpleNamespace as Thing
def compute_change_points(series, min_magnitude=0.0):
    at = next((n for n, value in enumerate(series) if value != series[0]), None)
    if at is None or abs(series[at] / series[0] - 1) < min_magnitude:
        return [], []
    return [Thing(index=at, stats=Thing(mean_1=series[0], mean_2=series[at], pvalue=1e-9))], []
"""


def stand_in(folder: Path, code: str) -> Path:
    """An interpreter that has such an ``otava.analysis``."""
    package = folder / "site" / "otava"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "analysis.py").write_text(code)
    python = folder / "python"
    # In isolated mode the interpreter would not look at PYTHONPATH.
    python.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={package.parent} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def nights(*values: float) -> list[Point]:
    return [Point(f"night-{number}", value) for number, value in enumerate(values)]


def test_steps_are_named_by_their_nights(tmp_path: Path) -> None:
    python = stand_in(tmp_path, STAND_IN)
    series = [nights(5, 5, 5, 6, 6), nights(5, 5, 5, 5, 5), nights(5, 5, 5.1, 5.1, 5.1), []]
    assert locate(python, series, [0.03] * 4) == [[ChangePoint("night-3", 5.0, 6.0, 1e-9)], [], [], []]
    assert locate(python, series, [0.01] * 4)[2] == [ChangePoint("night-2", 5.0, 5.1, 1e-9)]


def test_doubted_nights_take_no_part(tmp_path: Path) -> None:
    points = nights(5, 9, 5, 0.0, 5, 6, 6)
    points[1] = Point("night-1", 9, doubted=True)
    assert locate(stand_in(tmp_path, STAND_IN), [points], [0.03]) == [[ChangePoint("night-5", 5.0, 6.0, 1e-9)]]


def test_secrets_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTBENCH_DATABASE_URL", "postgresql://secret")
    code = "import os\nassert not any(name.startswith('NIGHTBENCH_') for name in os.environ)\n" + STAND_IN
    assert steps(stand_in(tmp_path, code), [[1.0, 2.0]], [0.0]) == [[(1, 1.0, 2.0, 1e-9)]]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise ValueError('no such luck')", "Otava ended with exit code 1: ValueError: no such luck"),
        ("print('hello')\n" + STAND_IN, "Otava answered what is not understood"),
        ("import os; os.kill(os.getpid(), 9)", "Otava ended with exit code -9: it printed nothing"),
    ],
)
def test_a_failure_is_one_sentence(tmp_path: Path, code: str, sentence: str) -> None:
    with pytest.raises(NightbenchError, match=sentence):
        steps(stand_in(tmp_path, code), [[1.0, 2.0]], [0.0])


def test_without_an_interpreter(tmp_path: Path) -> None:
    with pytest.raises(NightbenchError, match=r"Otava: .*No such file"):
        steps(tmp_path / "python", [[1.0, 2.0]], [0.0])


def test_the_environment_is_pinned_to_what_is_cited() -> None:
    pinned = OTAVA.requirements.read_text().splitlines()
    assert "apache-otava==0.8.0" in pinned
    assert not any(line.startswith(("google-cloud-bigquery", "slack-sdk", "pg8000")) for line in pinned)
    assert all("==" in line for line in pinned)


@dataclass
class Shelf:
    """What the stage asks of the database."""

    series: dict[SeriesKey, tuple[Point, ...]]
    kept: dict[SeriesKey, list[ChangePoint]] = field(default_factory=dict)

    def whole_series(self, suite: str) -> dict[SeriesKey, tuple[Point, ...]]:
        return {key: points for key, points in self.series.items() if key.suite == suite}

    def put_changes(self, found: Mapping[SeriesKey, Sequence[ChangePoint]]) -> None:
        self.kept |= {key: list(points) for key, points in found.items()}


@dataclass
class Told:
    notes: list[str] = field(default_factory=list)

    def doing(self, _: str) -> None: ...

    def note(self, words: str) -> None:
        self.notes.append(words)


def session(tmp_path: Path, shelf: Shelf | None, told: Told, stops: Sequence[bool] = ()) -> Session:
    """As much of one as the stage uses; it is asked to stop as ``stops`` says, look by look."""
    looks = iter(stops)

    def check_stop() -> None:
        if next(looks, False):
            raise Cancelled("cancelled")

    made = SimpleNamespace(
        store=shelf,
        progress=told,
        folder=tmp_path,
        settings=SimpleNamespace(server_environments=tmp_path, environments="pinned"),
        suite=SimpleNamespace(name="nightly", judge=JudgePolicy()),
        should_stop=lambda: False,
        check_stop=check_stop,
        cancelled=lambda: Cancelled("cancelled"),
    )
    return cast("Session", made)


KEYS = [SeriesKey("nightly", f"{number:03}", Metric.LATENCY_P50_NS) for number in range(450)]


def test_every_series_of_the_suite_is_kept_with_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = stand_in(tmp_path, STAND_IN)
    monkeypatch.setattr(changes, "ensure_environment", lambda *_, **__: SimpleNamespace(python=python))
    tail = SeriesKey("nightly", "000", Metric.LATENCY_P99_NS)
    other = SeriesKey("weekly", "000", Metric.LATENCY_P50_NS)
    # 5 % is news of a median and none of a p99.
    series = {key: tuple(nights(*[100] * 10, 105)) for key in (*KEYS, tail, other)}
    shelf, told = Shelf(series), Told()
    assert locate_changes(session(tmp_path, shelf, told)) == 450
    assert shelf.kept == {**{key: [ChangePoint("night-10", 100.0, 105.0, 1e-9)] for key in KEYS}, tail: []}
    assert told.notes == []


def test_a_night_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate_changes(session(tmp_path, None, Told())) == 0

    def fails(*_: object, **__: object) -> None:
        raise DeploymentError("no_environment", "uv found no network")

    monkeypatch.setattr(changes, "ensure_environment", fails)
    told = Told()
    young = Shelf({KEYS[0]: tuple(nights(*[100] * 10))})
    assert locate_changes(session(tmp_path, young, told)) == 0
    assert told.notes == []  # nothing is built for series that are too short to say anything
    old = Shelf({KEYS[0]: tuple(nights(*[100] * 11))})
    assert locate_changes(session(tmp_path, old, told)) == 0
    assert told.notes == ["no change points located: no_environment: uv found no network"]


def test_it_stops_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = stand_in(tmp_path, STAND_IN)
    monkeypatch.setattr(changes, "ensure_environment", lambda *_, **__: SimpleNamespace(python=python))
    shelf = Shelf({key: tuple(nights(*[100] * 10, 105)) for key in KEYS})
    with pytest.raises(Cancelled):
        locate_changes(session(tmp_path, shelf, Told(), stops=(False, True)))
    assert len(shelf.kept) == 200

    def stopped(*_: object, **__: object) -> None:
        raise Stopped("stopped while building")

    monkeypatch.setattr(changes, "ensure_environment", stopped)
    with pytest.raises(Cancelled):
        locate_changes(session(tmp_path, shelf, Told()))
