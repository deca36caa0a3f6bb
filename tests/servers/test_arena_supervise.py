"""Two processes as one: whatever ends, all end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from servers import arena

SUPERVISE = Path(arena.__file__).parent / "arena_common" / "supervise.py"
# Says that it runs, by a line with its name and process; then waits.
WAIT = "import os, signal; {how}os.write(1, f'{{os.environ[\"NAME\"]}} {{os.getpid()}}\\n'.encode()); signal.pause()"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
END_S = 30.0

Start = Callable[..., tuple["subprocess.Popen[str]", dict[str, psutil.Process]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**sources: str) -> tuple[subprocess.Popen[str], dict[str, psutil.Process]]:
            listed = tmp_path / "processes.json"
            argvs = [{"argv": [sys.executable, "-c", text], "env": {"NAME": name}} for name, text in sources.items()]
            listed.write_text(json.dumps(argvs))
            command = [sys.executable, "-I", str(SUPERVISE), str(listed)]
            pipe = subprocess.PIPE
            root = stack.enter_context(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
            stack.callback(root.kill)
            assert root.stdout is not None
            children = {}
            for _ in sources:
                name, pid = root.stdout.readline().split()
                children[name] = psutil.Process(int(pid))
                stack.callback(kill, children[name])
            return root, children

        yield begin


def kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def gone(children: dict[str, psutil.Process]) -> bool:
    return not psutil.wait_procs(list(children.values()), END_S)[1]


def test_told_to_end_it_ends_all(start: Start) -> None:
    root, children = start(back=WAIT.format(how=""), front=WAIT.format(how=""))
    root.send_signal(signal.SIGTERM)
    assert root.wait(END_S) == 0
    assert gone(children)


@pytest.mark.parametrize("name", ["back", "front"])
def test_when_one_ends_the_other_does(start: Start, name: str) -> None:
    root, children = start(back=WAIT.format(how=""), front=WAIT.format(how=""))
    os.kill(children[name].pid, signal.SIGKILL)
    _, said = root.communicate(timeout=END_S)
    assert root.returncode == 1
    assert "ended with code -9" in said
    assert gone(children)


def test_when_it_is_killed_itself_the_kernel_ends_them(start: Start) -> None:
    root, children = start(back=WAIT.format(how=""), front=WAIT.format(how=""))
    root.kill()
    root.wait(END_S)
    assert gone(children)


def test_what_will_not_end_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    short = tmp_path / "supervise.py"
    short.write_text(SUPERVISE.read_text().replace("GRACE_S = 10.0", "GRACE_S = 0.2"))
    monkeypatch.setattr(sys.modules[__name__], "SUPERVISE", short)
    root, children = start(back=WAIT.format(how=DEAF), front=WAIT.format(how=""))
    root.send_signal(signal.SIGTERM)
    assert root.wait(END_S) == 0
    assert gone(children)


def test_if_one_cannot_be_started_none_runs(tmp_path: Path) -> None:
    listed = tmp_path / "processes.json"
    waits = {"argv": [sys.executable, "-c", "import signal; signal.pause()"], "env": {}}
    listed.write_text(json.dumps([waits, {"argv": [str(tmp_path / "nothing")], "env": {}}]))
    done = subprocess.run(
        [sys.executable, "-I", str(SUPERVISE), str(listed)], capture_output=True, text=True, timeout=END_S, check=False
    )
    assert done.returncode == 1
    assert "nothing" in done.stderr
