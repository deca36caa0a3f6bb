"""What a killed run leaves is ended by the next command; what a live one holds is left alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from launch.labels import OWNER, Owner, labels
from launch.reaper import reap
from launch.workdir import SHARED_MEMORY
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
