"""What a killed run leaves is ended by the next command; what a live one holds is left alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest
from docker import DockerClient

from launch import reaper
from launch.engine import Engine
from launch.labels import MACHINE_LABEL, OWNER, OWNER_LABEL, Owner, labels, this_machine
from launch.reaper import reap, reap_containers
from launch.workdir import SHARED_MEMORY, marked_engines
from tests.launch.toys import runs, until

OWNER_SCRIPT = """
import sys, time
from pathlib import Path
from launch.process import ProcessLauncher
from tests.launch.toys import ask, make_request
root = Path(sys.argv[1])
body = '''
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
hidden = subprocess.Popen(["sleep", "60"], start_new_session=True)
bare = subprocess.Popen(["sleep", "60"], env={})
Path("/dev/shm", Path.cwd().name + "_region").write_text("x")
Path(os.environ["SCRATCH"], "pids.partial").write_text(f"{os.getpid()} {hidden.pid} {bare.pid}")
Path(os.environ["SCRATCH"], "pids.partial").rename(Path(os.environ["SCRATCH"], "pids"))
serve()
'''
with ProcessLauncher().launch(make_request(root, body), ask):
    (root / "up").touch()
    time.sleep(60)
"""


class Run:
    """A nightbench process with one server up."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.process = subprocess.Popen([sys.executable, "-c", OWNER_SCRIPT, str(root)])
        self.workdirs = root / "workdirs"
        assert until((root / "up").exists)
        self.pids = [int(pid) for pid in (root / "d1" / "pids").read_text().split()]
        (self.workdir,) = self.workdirs.iterdir()
        self.segment = SHARED_MEMORY / f"{self.workdir.name}_region"

    def stop(self) -> None:
        """End what it holds, for a test that failed as well."""
        self.process.kill()
        self.process.wait()
        for pid in self.pids:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)
        self.segment.unlink(missing_ok=True)


@pytest.fixture
def runs_of(tmp_path: Path) -> Iterator[tuple[Run, Run]]:
    with ExitStack() as stack:
        pair = []
        for name in ("killed", "living"):
            run = Run(tmp_path / name)
            stack.callback(run.stop)
            pair.append(run)
        yield pair[0], pair[1]


def test_reaps_what_a_killed_run_left_and_nothing_else(runs_of: tuple[Run, Run]) -> None:
    killed, living = runs_of
    reap(killed.workdirs)
    assert all(runs(pid) for pid in killed.pids)

    # Not waited for: a killed owner is dead also while its parent has not noticed.
    killed.process.kill()
    assert until(lambda: not runs(killed.process.pid))
    assert all(runs(pid) for pid in killed.pids)
    reaped = {(one.kind, one.name) for one in reap(killed.workdirs)}

    assert not any(runs(pid) for pid in killed.pids)
    assert not killed.workdir.exists()
    assert not killed.segment.exists()
    root, hidden, bare = killed.pids
    assert reaped >= {
        ("process", f"{root} (r1 d1)"),
        ("process", f"{hidden} (r1 d1)"),
        ("process", f"{bare}"),
        ("shared_memory", killed.segment.name),
        ("workdir", str(killed.workdir)),
    }

    assert all(runs(pid) for pid in living.pids)
    assert living.workdir.exists()
    assert living.segment.exists()


def test_spares_a_command_started_by_an_orphan(tmp_path: Path) -> None:
    """A command may inherit a dead owner's label, say from a shell that a dead run had opened."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    label = Owner(gone.pid, 1, Owner.current().space).label
    inner = "from launch.reaper import reap; reap(); print('reaped')"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True); print('spared')"
    said = subprocess.check_output([sys.executable, "-c", outer], env={**os.environ, OWNER: label}, text=True)
    assert said == "reaped\nspared\n"


def test_owners_are_told_apart_for_good() -> None:
    me = Owner.current()
    assert Owner.of_label(labels("r", "d")[OWNER]) == me
    assert Owner.of_name(f"region_{me.prefix}abc") == me
    assert not me.dead
    assert Owner(me.pid, me.started + 1, me.space).dead
    assert not Owner(me.pid, me.started + 1, "elsewhere").dead
    assert Owner.of_name("nightbench-") is Owner.of_label("17") is None


class Left:
    """A container or network, as an engine lists it."""

    def __init__(self, owner: str, created_s: float, machine: str | None = None) -> None:
        stamp = datetime.fromtimestamp(created_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
        marks = {OWNER_LABEL: owner, MACHINE_LABEL: machine or this_machine()}
        self.attrs = {"Labels": marks, "Created": created_s, "Names": ["/c"]}
        self.network = SimpleNamespace(
            attrs={"Labels": marks, "Created": stamp},
            name="n",
            remove=lambda: self.gone.append("network"),
        )
        self.gone: list[str] = []

    def remove(self, **_: bool) -> None:
        self.gone.append("container")


def engine_with(*left: Left) -> Engine:
    client = SimpleNamespace(
        containers=SimpleNamespace(list=lambda **_: list(left)),
        networks=SimpleNamespace(list=lambda **_: [each.network for each in left]),
    )
    return Engine(cast("DockerClient", client), "unix:///fake.sock", "1.0")


def dead_owner() -> Owner:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return Owner(gone.pid, 1, Owner.current().space)


def test_containers_go_with_their_owner_or_with_the_machine_s_last_boot() -> None:
    now = time.time()
    mine, orphan = Left(Owner.current().label, now), Left(dead_owner().label, now)
    elsewhere, rebooted = Left("7:7:feedbeef", now), Left("7:7:feedbeef", psutil.boot_time() - 60)
    unlabelled = Left("nonsense", 0)
    # An engine that several machines use: this one's boot says nothing of the other's runs.
    another = Left("7:7:feedbeef", psutil.boot_time() - 60, machine="another")
    reaped = reap_containers(engine_with(mine, orphan, elsewhere, rebooted, unlabelled, another))
    assert orphan.gone == rebooted.gone == ["container", "network"]
    assert mine.gone == elsewhere.gone == unlabelled.gone == another.gone == []
    assert [one.kind for one in reaped] == ["container", "container", "network", "network"]


def test_an_engine_is_asked_only_where_a_dead_owner_s_folder_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    orphan = Left(dead_owner().label, time.time())

    def found(url: str | None = None) -> Engine:
        asked.append(url)
        return engine_with(orphan)

    monkeypatch.setattr(reaper, "engine", found)
    for owner in (Owner.current(), Owner(1, 1, "feedbeef")):
        (tmp_path / f"{owner.prefix}aa").mkdir()
        (tmp_path / f"{owner.prefix}aa.engine").write_text("unix:///live.sock")
    reap(tmp_path)
    assert asked == []
    for name in "bc":
        prefix = dead_owner().prefix
        (tmp_path / f"{prefix}{name}").mkdir()
        # What its container wrote there is nobody's word.
        (tmp_path / f"{prefix}{name}" / ".engine").write_text("tcp://evil:2375")
        (tmp_path / f"{prefix}{name}.engine").write_text("unix:///left.sock")
    kinds = [one.kind for one in reap(tmp_path)]
    assert asked == ["unix:///left.sock"]
    assert "container" in kinds
    assert {path.name[-9:] for path in tmp_path.iterdir()} == {path.name[-9:] for path in tmp_path.glob("*-*aa*")}


def test_traps_laid_for_the_reaper_spring_at_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(reaper, "engine", asked.append)
    prefix = dead_owner().prefix
    (tmp_path / "url").write_text("tcp://evil:2375")
    (tmp_path / f"{prefix}link.engine").symlink_to(tmp_path / "url")
    os.mkfifo(tmp_path / f"{prefix}pipe.engine")
    (tmp_path / f"{prefix}folder.engine").mkdir()
    (tmp_path / f"{prefix}long.engine").write_text("x" * 4097)
    (tmp_path / f"{prefix}binary.engine").write_bytes(b"\xff\xfe")
    assert marked_engines(tmp_path, lambda _: True) == []
    (tmp_path / f"{prefix}theirs.engine").write_text("tcp://evil:2375")
    uid = os.getuid()
    monkeypatch.setattr("launch.untrusted.os.getuid", lambda: uid + 1)
    assert marked_engines(tmp_path, lambda _: True) == []
    assert asked == []
