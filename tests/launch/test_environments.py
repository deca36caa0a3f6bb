"""Environments on disk: counted as the disk does, and removed only where nobody needs them."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from launch.environment import ensure_environment, environment_folder, lock_path
from launch.environments import Built, built_environments, is_built, prune, total_bytes
from nightbench.server import ServerSpec
from tests.launch.test_environment import make_wheel
from tests.launch.toys import make_spec


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    (tmp_path / "requirements.txt").write_text(f"{make_wheel(tmp_path)}\n")
    return make_spec(tmp_path, "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


def build(spec: ServerSpec, root: Path) -> Path:
    ensure_environment(spec, root, "pinned", lambda _: None, root / "log")
    return environment_folder(spec, root)


def fake(root: Path, name: str, *, whole: bool = True) -> Path:
    folder = root / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    if whole:
        (folder / ".complete").write_text('{"build_ns": 1}')
    return folder


def only(found: list[Built], name: str) -> Built:
    (one,) = (each for each in found if each.folder.name == name)
    return one


def test_the_environment_of_other_requirements_is_not_this_ones(spec: ServerSpec, root: Path) -> None:
    old = build(spec, root)
    assert is_built(spec, root)
    spec.requirements.write_text(f"{make_wheel(spec.folder, '2.0')}\n")
    assert not is_built(spec, root)
    (found,) = built_environments([spec], root)
    assert (found.folder, found.server, found.whole, found.current) == (old, "toy", True, False)
    assert environment_folder(spec, root) != old


def test_overrides_make_another_environment_and_are_used(spec: ServerSpec, root: Path, tmp_path: Path) -> None:
    before = environment_folder(spec, root)
    # Nothing on this machine could install the version that is asked for.
    spec.requirements.write_text(f"--no-index\n--find-links {tmp_path}\ntoy==9.9\n")
    (spec.folder / "overrides.txt").write_text("toy==1.2.3\n")
    folder = build(spec, root)
    assert folder != before
    assert is_built(spec, root)
    (spec.folder / "overrides.txt").write_text("toy==1.2.4\n")
    assert not is_built(spec, root)


def test_a_file_with_two_names_takes_its_room_once(spec: ServerSpec, root: Path) -> None:
    one, other = fake(root, "toy-aaa"), fake(root, "toy-bbb")
    shared = one / "library"
    shared.write_bytes(os.urandom(1 << 20))
    os.link(shared, one / "the same")
    os.link(shared, other / "library")
    (other / "own").write_bytes(os.urandom(1 << 19))
    os.sync()  # until then a file may have no blocks
    found = built_environments([], root)
    mine, others = only(found, "toy-aaa"), only(found, "toy-bbb")
    assert 1 << 20 <= mine.size_bytes < 1.2 * (1 << 20)
    assert mine.shared_bytes == others.shared_bytes == 1 << 20
    assert others.size_bytes > (1 << 20) + (1 << 19)
    assert total_bytes(root) == mine.size_bytes + others.size_bytes - mine.shared_bytes


def test_the_unfinished_are_told_apart(root: Path) -> None:
    fake(root, "my-server-aaa", whole=False)
    (found,) = built_environments([], root)
    assert (found.server, found.fingerprint, found.whole, found.current) == ("my-server", "aaa", False, False)


def test_pruning_removes_all_of_it(root: Path) -> None:
    folder = fake(root, "toy-aaa")
    (pruned,) = prune(built_environments([], root))
    assert not pruned.kept
    assert not folder.exists()
    assert built_environments([], root) == []


def test_one_being_built_stays(root: Path) -> None:
    folder = fake(root, "toy-aaa", whole=False)
    with lock_path(folder).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (pruned,) = prune(built_environments([], root))
    assert pruned.kept == "it is being built"
    assert folder.exists()


def test_one_that_runs_a_server_stays(spec: ServerSpec, root: Path) -> None:
    folder = build(spec, root)
    with subprocess.Popen([folder / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE) as process:
        (pruned,) = prune(built_environments([], root))
        process.kill()
    assert pruned.kept == f"in use by process {process.pid}"
    assert folder.exists()


def test_without_any_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert built_environments([], tmp_path / "none") == []
    assert total_bytes(tmp_path / "none") == 0
