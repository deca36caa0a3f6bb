"""`nightbench arena`, as a user calls it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flows.commands import arena as command
from nightbench.errors import UsageError
from nightbench.load import ClosedLoop
from nightbench.record import Record
from nightbench.server import OptionValue
from tests.nightbench import test_arena as made


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Record]:
    """What the database holds: a made-up run of two of the architectures."""
    figures = {"arena_monolith": made.FIGURES["one"], "arena_triton": made.FIGURES["two"]}
    monkeypatch.setattr(made, "FIGURES", figures)
    monkeypatch.setenv("NIGHTBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    held = list(made.records())
    monkeypatch.setattr(command, "records_of", lambda *_: held)
    return held


def test_it_prints_all_four_answers(capsys: pytest.CaptureFixture[str]) -> None:
    command.arena("run-1", price_per_hour=3.6)
    said = capsys.readouterr().out
    assert "arena, run run-1, figures with 95 % intervals; 3.6 an hour" in said
    assert "cost a million" in said
    assert "detect/config.pbtxt" in said
    assert "Lowest p50 latency: arena_monolith at 1 in flight" in said
    assert "Least to write: arena_monolith" in said


def test_it_writes_the_page_where_it_is_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "arena.html"
    command.arena("run-1", html=path)
    assert str(path) in capsys.readouterr().out
    assert "Inference Arena: arena" in path.read_text()
    with pytest.raises(UsageError, match="cannot be written"):
        command.arena("run-1", html=path / "below" / "a.html")


def test_lines_are_those_of_the_setup_that_was_measured(run: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, OptionValue] = {"dynamic_batching": True, "max_queue_delay_microseconds": 5000}
    run += [
        made.measured("arena_triton", "arena", number, ClosedLoop(1), 90.0, 11.0, 100.0, 300, options)
        for number in made.ROUNDS
    ]
    command.arena("run-1")
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Least to write"))
    lines = re.findall(r"arena_triton[^,()]*? (\d+) lines", said)
    assert len(set(lines)) == 2


def test_failed_starts_are_printed(run: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    run.append(
        replace(
            made.deployment("arena_triton", "arena", 4, 1.0), cold_start_ns=None, failure="it died", failure_kind="died"
        )
    )
    command.arena("run-1")
    assert "4 (1 failed)" in capsys.readouterr().out


def test_a_run_without_pipelines_is_refused(run: list[Record]) -> None:
    run[:] = made.records(model="resnet50")
    with pytest.raises(UsageError, match="no closed loop of a pipeline"):
        command.arena("run-1")
