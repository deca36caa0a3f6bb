"""What a server needs and this machine lacks, in words."""

from pathlib import Path

import pytest

from launch.here import missing
from tests.launch.toys import make_spec


def test_nothing_is_missing_for_what_uv_installs(tmp_path: Path) -> None:
    assert missing(make_spec(tmp_path, "")) == ()


def test_programs_are_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(tmp_path, "", needs=("java", "dot"))
    monkeypatch.setenv("PATH", str(tmp_path))
    java = tmp_path / "java"
    java.touch(mode=0o755)
    assert missing(spec) == ("the program dot",)


def test_an_image_is_not_a_process(tmp_path: Path) -> None:
    absent = missing(make_spec(tmp_path, "", process=False, needs=("no-such-program",)))
    assert "image" in absent[0]
    assert absent[-1] == "the program no-such-program"
