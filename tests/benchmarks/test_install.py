"""A peer that cannot be had is absent, in words; the comparison goes on without it."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks.loadgen.peers import install


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def _offline(*_: str) -> None:
    raise RuntimeError("pip could not get it: there is no network")


def _wheels(*arguments: str) -> None:
    """pip download: the members that matter, in wheels of the names they have."""
    downloads = Path(arguments[arguments.index("--dest") + 1])
    with ZipFile(downloads / "tritonclient.whl", "w") as wheel:
        wheel.writestr("tritonclient-2.51.0.data/data/bin/perf_analyzer", "program")
        wheel.writestr("tritonclient/http.py", "not wanted")
    with ZipFile(downloads / "pytriton.whl", "w") as wheel:
        wheel.writestr("nvidia_pytriton.libs/libb64-98cb6333.so.0d", "b64")
        wheel.writestr("nvidia_pytriton.libs/libcudart-09529672.so.12.6.77", "cudart")


def test_without_a_network_the_reason_is_given_and_the_next_use_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_pip", _offline)
    assert install.why_not(install.perf_analyzer) == "pip could not get it: there is no network"
    monkeypatch.setattr(install, "_pip", _wheels)
    assert install.why_not(install.perf_analyzer) == ""


def test_the_libraries_lie_beside_the_program_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_pip", _wheels)
    program = install.perf_analyzer()
    assert program.read_text() == "program"
    assert program.stat().st_mode & 0o100
    names = {path.name for path in program.parent.iterdir() if not path.name.startswith(".")}
    assert names == {"perf_analyzer", "libb64.so.0d", "libcudart.so.12"}


def test_what_is_there_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_pip", _wheels)
    program = install.perf_analyzer()
    monkeypatch.setattr(install, "_pip", _offline)
    assert install.perf_analyzer() == program


def test_a_cache_that_cannot_be_written_is_a_reason_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    (cache / "file").touch()
    assert "file" in install.why_not(install.locust)
