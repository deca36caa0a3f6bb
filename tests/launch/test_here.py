"""What a server needs and this machine lacks, in words."""

from pathlib import Path

import pytest

from launch import here
from launch.here import lacks_gpu, missing, unmet
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


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"provider": "tensorrt"}])
def test_an_option_may_ask_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]) -> None:
    spec = make_spec(tmp_path, "")
    monkeypatch.setattr(here, "_GPU_DEVICES", (tmp_path / "nvidiactl",))
    assert lacks_gpu(spec, options)
    assert unmet(spec, options) == unmet(make_spec(tmp_path, "", needs=("gpu",)), {})
    assert not lacks_gpu(spec, {"device": "cpu"})
    (tmp_path / "nvidiactl").touch()
    assert not lacks_gpu(spec, options)
    assert unmet(spec, options) == ()
