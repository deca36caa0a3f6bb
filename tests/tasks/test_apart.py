"""A library in a process of its own answers, or the night is told why not."""

from pathlib import Path

import pytest

from tasks.apart import Unanswered, ask

NOISY = """
import os, sys, warnings
from tasks.apart import answer
def reply(question):
    print("loading models")
    os.system("echo from a child of its own")
    warnings.warn("old")
    print("progress 100 %", file=sys.stderr)
    return [question, os.environ["DO_NOT_TRACK"], os.environ["GX_ANALYTICS_ENABLED"]]
answer(reply)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "asked.py"


def test_noise_goes_nowhere_and_does_not_spoil_the_answer(module: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module.write_text(NOISY)
    assert ask("asked", {"rows": [1.5, float("inf"), None]}, 60.0) == [
        {"rows": [1.5, float("inf"), None]},
        "1",
        "false",
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no such column')", "ended with code 1: RuntimeError: no such column"),
        ("import os; os._exit(9)", "ended with code 9: it said nothing"),
        ("print('no JSON')", "ended with code 0"),
        ("import time; time.sleep(600)", "did not answer within 1 s"),
    ],
)
def test_a_failure_is_one_sentence(module: Path, code: str, said: str) -> None:
    module.write_text(code)
    with pytest.raises(Unanswered, match=f"^asked {said}"):
        ask("asked", None, 1.0 if "time" in code else 60.0)
