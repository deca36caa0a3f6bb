"""Server environments: built once, whatever asks for them, and from nothing but what lies on this machine."""

import fcntl
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from launch.environment import Environment, ensure_environment
from launch.uv import failure_sentence
from nightbench.errors import DeploymentError
from nightbench.server import ServerSpec
from nightbench.stopping import Stopped, never
from tests.launch.toys import make_spec, runs, until


def make_wheel(folder: Path, version: str = "1.2.3") -> Path:
    """A package ``toy`` with one module, as an installable file."""
    wheel = folder / f"toy-{version}-py3-none-any.whl"
    info = f"toy-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy.py", "word = 'hello'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    (tmp_path / "requirements.txt").write_text(f"{make_wheel(tmp_path)}\n")
    return make_spec(tmp_path, "")


def ensure(
    spec: ServerSpec,
    root: Path,
    events: list[str],
    mode: str = "pinned",
    should_stop: Callable[[], bool] = never,
) -> Environment:
    return ensure_environment(spec, root, mode, events.append, root / "logs" / "build.log", should_stop)


def test_built_once(spec: ServerSpec, tmp_path: Path) -> None:
    root, events = tmp_path / "environments", list[str]()
    first = ensure(spec, root, events)
    assert first.built
    assert first.version == "1.2.3"
    assert (first.site_packages / "toy.py").exists()
    assert subprocess.check_output([first.python, "-c", "import toy; print(toy.word)"]) == b"hello\n"
    assert events[0] == "building the environment of toy (first use)"
    assert any("Installed 1 package" in event for event in events)
    assert "Installed 1 package" in (root / "logs" / "build.log").read_text()

    events.clear()
    again = ensure(spec, root, events)
    assert events == []
    assert not again.built
    assert (again.python, again.fingerprint, again.build_ns) == (first.python, first.fingerprint, first.build_ns)


@dataclass(frozen=True)
class Tool:
    """What has an environment without being a server."""

    name: str
    folder: Path
    distribution: str

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"


def test_what_is_no_server_has_one_as_well(spec: ServerSpec, tmp_path: Path) -> None:
    root, events = tmp_path / "environments", list[str]()
    tool = Tool("export-toy", spec.folder, "toy")
    made = ensure_environment(tool, root, "pinned", events.append, tmp_path / "log")
    assert (made.version, made.python.parents[1]) == ("1.2.3", root / f"export-toy-{made.fingerprint}")
    assert events[0] == "building the environment of export-toy (first use)"
    # By the same list, and yet apart: removing the one must not take the other away.
    assert ensure(spec, root, []).built


def test_other_requirements_are_another_environment(spec: ServerSpec, tmp_path: Path) -> None:
    root = tmp_path / "environments"
    first = ensure(spec, root, [])
    spec.requirements.write_text(f"{make_wheel(tmp_path, '2.0')}\n")
    second = ensure(spec, root, [])
    assert (first.version, second.version) == ("1.2.3", "2.0")
    assert first.fingerprint != second.fingerprint
    assert first.python.exists()


def test_an_unfinished_one_is_built_anew(spec: ServerSpec, tmp_path: Path) -> None:
    root = tmp_path / "environments"
    first = ensure(spec, root, [])
    (first.site_packages / "toy.py").unlink()
    (root / f"toy-{first.fingerprint}" / ".complete").unlink()
    second = ensure(spec, root, [])
    assert second.built
    assert (second.site_packages / "toy.py").exists()


def test_one_whose_stamp_says_nothing_is_built_anew(spec: ServerSpec, tmp_path: Path) -> None:
    root = tmp_path / "environments"
    first = ensure(spec, root, [])
    stamp = root / f"toy-{first.fingerprint}" / ".complete"
    for torn in (b"", b'{"server": "toy", "bui', bytes(40), b"[]", b'{"build_ns": null}'):
        stamp.write_bytes(torn)
        (first.site_packages / "toy.py").unlink()
        again = ensure(spec, root, [])
        assert again.built
        assert (again.site_packages / "toy.py").exists()
        assert not ensure(spec, root, []).built


def test_a_stamp_is_on_the_disk_before_it_counts(
    spec: ServerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, order = tmp_path / "environments", list[str]()
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        fsync(descriptor)
        order.append(f"synced {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    def note_replace(self: Path, target: Path) -> Path:
        order.append(f"named {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "sync", lambda: order.append("synced the packages"))
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    assert ensure(spec, root, []).built
    assert order == ["synced the packages", "synced .complete.partial", "named .complete"]


SLOW_BACKEND = """
import os, pathlib, shutil, time
here = pathlib.Path(__file__).parent
def build_wheel(folder, *_):
    if (here / "slow").exists():
        (here / "pid.partial").write_text(str(os.getpid()))
        (here / "pid.partial").rename(here / "pid")
        time.sleep(600)
    wheel = next(here.parent.glob("*.whl"))
    shutil.copy(wheel, folder)
    return wheel.name
"""


def test_told_to_stop_while_building(spec: ServerSpec, tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "environments"
    source.mkdir()
    (source / "backend.py").write_text(SLOW_BACKEND)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "slow").touch()
    spec.requirements.write_text(f"toy @ {source.as_uri()}\n")
    with pytest.raises(Stopped):
        ensure(spec, root, [], should_stop=(source / "pid").exists)
    builder = int((source / "pid").read_text())
    assert until(lambda: not runs(builder))

    (source / "slow").unlink()
    assert ensure(spec, root, []).built


def test_told_to_stop_while_another_builds(spec: ServerSpec, tmp_path: Path) -> None:
    root = tmp_path / "environments"
    folder = root / f"toy-{ensure(spec, root, []).fingerprint}"
    (folder / ".complete").unlink()
    with folder.with_name(f"{folder.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Stopped):
            ensure(spec, root, [], should_stop=lambda: True)


def test_built_by_one_while_others_wait(spec: ServerSpec, tmp_path: Path) -> None:
    root, events, built = tmp_path / "environments", list[str](), list[bool]()

    def build() -> None:
        built.append(ensure(spec, root, events).built)

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(built) == [False, False, True]
    assert events.count("building the environment of toy (first use)") == 1
    assert events.count("waiting for another nightbench that builds the environment of toy") == 2


def test_a_broken_build_is_one_sentence(spec: ServerSpec, tmp_path: Path) -> None:
    root = tmp_path / "environments"
    spec.requirements.write_text(f"{tmp_path / 'missing-1.0-py3-none-any.whl'}\n")
    with pytest.raises(DeploymentError) as caught:
        ensure(spec, root, [])
    assert caught.value.kind == "no_environment"
    assert caught.value.detail.startswith("the environment of toy could not be built: ")
    assert "missing-1.0-py3-none-any.whl" in caught.value.detail
    assert "\n" not in caught.value.detail
    assert caught.value.log_tail in (root / "logs" / "build.log").read_text()


def test_a_list_without_the_server_itself(spec: ServerSpec, tmp_path: Path) -> None:
    spec.requirements.write_text("")
    with pytest.raises(DeploymentError, match=r"requirements.txt does not install toy, the distribution toy names"):
        ensure(spec, tmp_path / "environments", [])


def test_a_server_without_a_list(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"no_environment: the environment of toy: .*requirements.txt"):
        ensure(make_spec(tmp_path, ""), tmp_path / "environments", [])


def test_host_uses_this_interpreter(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "", distribution="pytest")
    found = ensure(spec, tmp_path / "environments", [], mode="host")
    assert found.python == Path(sys.executable)
    assert (found.site_packages / "pytest" / "__init__.py").exists()
    assert (found.fingerprint, found.version, found.built) == ("host", pytest.__version__, False)
    assert not (tmp_path / "environments").exists()


def test_host_without_the_package(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"no_environment: toy is not installed in .*; install .*requirements"):
        ensure(make_spec(tmp_path, ""), tmp_path, [], mode="host")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            "Using Python 3.11\nerror: No solution found\n  cause: Because nope was not found.\n",
            "No solution found: Because nope was not found.",
        ),
        (
            "error: Failed to build `bad`\n  cause: The build backend returned an error\n\n     [stderr]\n"
            "     RuntimeError: no such luck\n\nhint: Build failures usually indicate a problem\n",
            "Failed to build `bad`: The build backend returned an error: RuntimeError: no such luck",
        ),
        ("something odd\n\n", "something odd"),
        ("", "it printed nothing"),
    ],
)
def test_failures_of_uv_in_one_sentence(output: str, sentence: str) -> None:
    assert failure_sentence(output) == sentence
