"""`nightbench judge` over a file: what it prints, for people and for programs."""

import json
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App

from flows.commands.judge import judge
from nightbench.errors import UsageError


def run(*arguments: str) -> None:
    app = App(name="judge")
    app.default(judge)
    app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two series of 60 nights, one of which is 15 % slower from night 45 on, and one of 3 nights."""
    rng = np.random.default_rng(1)
    lines = ["series,night,value,direction"]
    for night in range(60):
        steady, slower = np.exp(0.01 * rng.standard_normal(2))
        lines.append(f"steady,{night},{steady},higher")
        lines.append(f"p50 of [one],{night},{4.0 * slower * (1.15 if night >= 45 else 1.0)},lower")
    lines += [f"short,{night},1.0,higher" for night in range(3)]
    path = tmp_path / "series.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_suspicions_are_printed_with_the_night_they_are_of(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--csv", str(file))
    shown = " ".join(capsys.readouterr().out.split())
    assert "[one]" in shown
    assert "3 series, 123 nights of which" in shown
    assert "judged: 1 suspected worse, 0 better" in shown
    assert "1 series have too few nights, more than 10 are needed" in shown


def test_json_is_one_object(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--csv", str(file), "--json")
    found = json.loads(capsys.readouterr().out)
    by_name = {each["series"]: each for each in found["series"]}
    assert list(by_name) == ["steady", "p50 of [one]", "short"]
    assert by_name["steady"]["suspicions"] == []
    assert by_name["short"]["judged"] == 0
    (suspicion,) = by_name["p50 of [one]"]["suspicions"]
    assert (suspicion["located"], suspicion["last_before"], suspicion["worse"]) == ("45", "44", True)
    assert 45 < int(suspicion["raised"]) < 52
    assert suspicion["before"]["low"] < 4.0 < suspicion["before"]["high"]
    assert suspicion["ratio"] == pytest.approx(1.15, abs=0.02)
    assert found["policy"]["min_effect"] == 0.03


def test_a_larger_effect_is_asked_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--csv", str(file), "--json", "--min-effect", "0.3")
    assert not any(each["suspicions"] for each in json.loads(capsys.readouterr().out)["series"])


def test_an_effect_that_nobody_would_look_at_is_refused() -> None:
    with pytest.raises(UsageError, match="--min-effect: goes with --csv"):
        run("last", "--min-effect", "0.3")


def test_a_bad_file_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("series,night,value\na,1,fast\n")
    with pytest.raises(UsageError, match=r"bad\.csv, line 2, column 'value': 'fast' is no number"):
        run("--csv", str(path))
