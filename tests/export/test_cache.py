"""The cache gives whole entries or none, and makes each one once."""

import shutil
import subprocess
import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export.cache import Cache, NotCached, Request
from nightbench.errors import ExportError

REQUEST = Request(label="thing", suffix=".bin", facts={"a": 1}, purpose="making a thing")


def make(path: Path) -> Mapping[str, Any]:
    path.write_bytes(b"payload")
    return {"note": "made"}


def never(path: Path) -> Mapping[str, Any]:
    raise AssertionError(path)


def test_made_once_then_found(tmp_path: Path) -> None:
    first = Cache(tmp_path).get(REQUEST, make)
    second = Cache(tmp_path).get(REQUEST, never)
    assert (first.cached, second.cached) == (False, True)
    assert second.path.read_bytes() == b"payload"
    assert second.path.stem == second.sha256
    assert (second.made_ns, second.facts) == (first.made_ns, {"note": "made"})


def test_other_facts_are_another_entry(tmp_path: Path) -> None:
    one = Cache(tmp_path).get(REQUEST, make)
    other = Request(label="thing", suffix=".bin", facts={"a": 2}, purpose="")
    assert Cache(tmp_path).get(other, make).path.parent != one.path.parent


def make_folder(path: Path) -> Mapping[str, Any]:
    (path / "inner").mkdir(parents=True)
    (path / "weights").write_bytes(b"numbers")
    (path / "inner/words").write_bytes(b"letters")
    return {}


def test_a_folder_is_named_by_all_that_is_in_it(tmp_path: Path) -> None:
    entry = Cache(tmp_path).get(REQUEST, make_folder)
    assert (entry.path / "inner/words").read_bytes() == b"letters"
    assert entry.size_bytes == 14
    assert entry.path.name == f"{entry.sha256}.bin"
    printed = subprocess.run(["sha256sum", "inner/words", "weights"], cwd=entry.path, capture_output=True, check=True)
    assert entry.sha256 == sha256(printed.stdout).hexdigest()
    assert Cache(tmp_path).get(REQUEST, never).cached


@pytest.mark.parametrize("damage", ["changed", "added", "renamed", "deleted", "all deleted"])
def test_a_broken_folder_is_made_anew_and_reported(tmp_path: Path, damage: str) -> None:
    folder = Cache(tmp_path).get(REQUEST, make_folder).path
    match damage:
        case "changed":
            (folder / "inner/words").write_bytes(b"Letters")
        case "added":
            (folder / "inner/more").touch()
        case "renamed":
            (folder / "weights").rename(folder / "weight")
        case "deleted":
            (folder / "weights").unlink()
        case "all deleted":
            shutil.rmtree(folder)
    cache = Cache(tmp_path)
    again = cache.get(REQUEST, make_folder)
    assert {path.name for path in again.path.rglob("*")} == {"weights", "inner", "words"}
    assert len(cache.rebuilt) == 1
    assert Cache(tmp_path).get(REQUEST, never).cached


def test_a_folder_that_fails_to_be_made_is_gone(tmp_path: Path) -> None:
    def fail(path: Path) -> Mapping[str, Any]:
        make_folder(path)
        raise RuntimeError("half way")

    with pytest.raises(ExportError, match="half way"):
        Cache(tmp_path).get(REQUEST, fail)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"lock"}
    assert not Cache(tmp_path).get(REQUEST, make_folder).cached


def test_told_not_to_make(tmp_path: Path) -> None:
    with pytest.raises(NotCached):
        Cache(tmp_path, may_make=False).get(REQUEST, never)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flipped", "truncated", "deleted", "manifest", "manifest fields"])
def test_a_broken_entry_is_made_anew_and_reported(tmp_path: Path, damage: str) -> None:
    entry = Cache(tmp_path).get(REQUEST, make)
    manifest = entry.path.with_name("manifest.json")
    match damage:
        case "flipped":
            entry.path.write_bytes(b"paYload")
        case "truncated":
            entry.path.write_bytes(b"pay")
        case "deleted":
            entry.path.unlink()
        case "manifest":
            manifest.write_bytes(b'{"file": "\xff')
        case "manifest fields":
            manifest.write_text('["not", "a", "manifest"]')
    with pytest.raises(NotCached, match=entry.path.parent.name):
        Cache(tmp_path, may_make=False).get(REQUEST, never)
    cache = Cache(tmp_path)
    again = cache.get(REQUEST, make)
    assert again.path.read_bytes() == b"payload"
    assert len(cache.rebuilt) == 1
    assert "made anew" in cache.rebuilt[0]
    assert Cache(tmp_path).get(REQUEST, never).cached


def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    entry = Cache(tmp_path).get(REQUEST, make)
    outside = tmp_path / "outside.bin"
    entry.path.rename(outside)
    manifest = entry.path.with_name("manifest.json")
    manifest.write_text(manifest.read_text().replace(entry.path.name, "../outside.bin"))
    assert Cache(tmp_path).get(REQUEST, make).path.parent == entry.path.parent
    assert outside.exists()


def test_a_failure_leaves_no_entry_and_says_the_first_cause(tmp_path: Path) -> None:
    def fail(path: Path) -> Mapping[str, Any]:
        path.write_bytes(b"half")
        raise RuntimeError("wrapped\nover lines") from OSError(28, "No space left on device")

    with pytest.raises(ExportError, match=r"^making a thing failed: OSError: .*No space left on device$"):
        Cache(tmp_path).get(REQUEST, fail)
    assert not Cache(tmp_path).get(REQUEST, make).cached


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    entry = Cache(tmp_path).get(REQUEST, make)
    entry.path.with_name("manifest.json").unlink()
    entry.path.with_name("partial.bin").write_bytes(b"half")
    make_folder(entry.path.with_name("partial"))
    again = Cache(tmp_path).get(REQUEST, make)
    assert {path.name for path in again.path.parent.iterdir()} == {again.path.name, "manifest.json", "lock"}


def test_waiting_for_another_process_is_no_work_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = 0

    def wait(*_: Any) -> None:
        nonlocal clock_ns
        clock_ns += 10**9

    cache = Cache(tmp_path)
    other = Request(label="other", suffix=".bin", facts={}, purpose="")

    def outer(path: Path) -> Mapping[str, Any]:
        nonlocal clock_ns
        clock_ns += 7
        cache.get(other, make)
        return make(path)

    monkeypatch.setattr("export.cache.time", SimpleNamespace(monotonic_ns=lambda: clock_ns))
    monkeypatch.setattr("export.cache.fcntl", SimpleNamespace(flock=wait, LOCK_EX=0))
    assert cache.get(REQUEST, outer).made_ns == 7


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    inside, release, made = threading.Event(), threading.Event(), []

    def slow(path: Path) -> Mapping[str, Any]:
        made.append(path)
        inside.set()
        release.wait(30)
        return make(path)

    results = []
    workers = [threading.Thread(target=lambda: results.append(Cache(tmp_path).get(REQUEST, slow))) for _ in range(3)]
    workers[0].start()
    assert inside.wait(30)
    for worker in workers[1:]:
        worker.start()
    release.set()
    for worker in workers:
        worker.join(30)
    assert len(made) == 1
    assert sorted(entry.cached for entry in results) == [False, True, True]
