"""Every way a child process can end is an answer or one sentence, and no process is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.child import run_child
from export.failure import last_line, one_line
from export.job import Job
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision
from nightbench.stopping import Stopped


@pytest.fixture
def job(tiny: ModelSpec, tmp_path: Path) -> Job:
    return Job(tiny, Format.ONNX, Precision.FP32, "random", tmp_path / "cache", 2, (1,))


def ending(job: Job, log: Path, code: str, timeout_s: float = 60, memory_bytes: int | None = None) -> str:
    with pytest.raises(ExportError) as caught:
        run_child(job, log, timeout_s, argv=(sys.executable, "-c", code), memory_bytes=memory_bytes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def gone(pid: int) -> bool:
    """Whether the process ended; a zombie nobody has collected yet did."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return gone(pid)


def test_killed_for_memory(job: Job, tmp_path: Path) -> None:
    code = "import os, sys; print('allocating', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    sentence = ending(job, tmp_path / "log", code)
    assert "preparing tiny_cnn in onnx was killed by SIGKILL, most likely because memory ran out" in sentence
    assert "its last words: allocating" in sentence


def test_crash_tells_the_last_line_of_this_run_only(job: Job, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("from an earlier run\n")
    assert "earlier" not in ending(job, log, "raise SystemExit(3)")
    sentence = ending(job, log, "raise ValueError('unsupported operator')")
    assert "ended with exit code 1 and no answer; its last words: ValueError: unsupported operator" in sentence


def test_noise_instead_of_an_answer(job: Job, tmp_path: Path) -> None:
    assert "exit code 0 and no answer" in ending(job, tmp_path / "log", "print('{\"prepared\": 3}')")


@pytest.mark.parametrize("apart", [False, True], ids=["in its group", "in a session of its own"])
def test_too_slow_is_ended_with_its_children(job: Job, tmp_path: Path, apart: bool) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time, pathlib\n"
        f"kid = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session={apart})\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{kid.pid}}')\n"
        "time.sleep(600)"
    )
    assert "took longer than 3 s and was ended" in ending(job, tmp_path / "log", code, timeout_s=3)
    assert all(eventually_gone(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize("apart", [False, True], ids=["in its group", "in a session of its own"])
def test_memory_is_that_of_all_its_processes(job: Job, tmp_path: Path, apart: bool) -> None:
    pids = tmp_path / "pids"
    hoard = "hoard = bytearray(b'1') * 2**27; time.sleep(600)"  # 128 MiB
    code = (
        "import os, subprocess, sys, time, pathlib\n"
        f"kid = subprocess.Popen([sys.executable, '-c', {'import time; ' + hoard!r}], start_new_session={apart})\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{kid.pid}}')\n"
        "print('allocating', file=sys.stderr, flush=True)\n" + hoard
    )
    sentence = ending(job, tmp_path / "log", code, 300, memory_bytes=3 * 2**26)  # neither alone
    assert "GiB of memory and was ended, its limit being 0.2; raise 'memory_gib' of the suite's 'export'" in sentence
    assert "its last words: allocating" in sentence
    assert all(eventually_gone(int(pid)) for pid in pids.read_text().split())


def test_what_it_leaves_behind_when_it_ends_is_ended_too(job: Job, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "kid = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stdout=subprocess.DEVNULL)\n"
        'print(\'{"error": "%d"}\' % kid.pid)'
    )
    assert eventually_gone(int(ending(job, tmp_path / "log", code).partition(" ")[0]))


def test_what_left_its_group_and_outlived_it_is_ended_too(job: Job, tmp_path: Path) -> None:
    pid, enough, looks = tmp_path / "pid", tmp_path / "enough", []
    code = (
        "import os, pathlib, subprocess, sys, time\n"
        "kid = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        "    start_new_session=True, stdout=subprocess.DEVNULL)\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(kid.pid))\n"
        f"while not os.path.exists({str(enough)!r}): time.sleep(0.02)\n"
        "os._exit(0)"
    )

    def looked() -> bool:
        looks.append(pid.exists())
        if looks.count(True) == 2:  # the look before this one found the process
            enough.touch()
        return False

    with pytest.raises(ExportError, match="exit code 0 and no answer"):
        run_child(job, tmp_path / "log", 60, looked, argv=(sys.executable, "-c", code))
    assert eventually_gone(int(pid.read_text()))


def test_orphans_are_still_found_and_ended(tmp_path: Path) -> None:
    code = (
        "import os, subprocess; from export.descendants import adopt_orphans, descendants, end; adopt_orphans()\n"
        "orphan = subprocess.check_output(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & echo $!'])\n"
        "found = descendants(os.getpid()); end(found)\n"
        "print(int(orphan), *(each.pid for each in found))"
    )
    pids = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert pids[0] in pids[1:]
    assert eventually_gone(int(pids[0]))


def test_of_much_noise_only_the_end_is_kept(job: Job, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("from an earlier run\n")
    code = (
        "import sys\nfor _ in range(60): sys.stderr.write('noise' * 2**18 + chr(10))\n"
        "sys.stderr.write('the end'); sys.exit(1)"
    )
    assert "its last words: the end" in ending(job, log, code)
    assert log.read_text().startswith("from an earlier run\n(much was printed before this")
    assert log.stat().st_size < 40 * 2**20


def test_stopped_is_ended_with_its_children(job: Job, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time, pathlib\n"
        "kid = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'partial')!r}).write_text(f'{{os.getpid()}} {{kid.pid}}')\n"
        f"pathlib.Path({str(tmp_path / 'partial')!r}).rename({str(pids)!r})\n"
        "time.sleep(600)"
    )
    with pytest.raises(Stopped, match="preparing tiny_cnn in onnx was stopped"):
        run_child(job, tmp_path / "log", 300, pids.exists, argv=(sys.executable, "-c", code))
    assert all(eventually_gone(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize("stop", [False, True])
def test_an_answer_given_while_we_were_busy_counts(job: Job, tmp_path: Path, stop: bool) -> None:
    begun = tmp_path / "pid"
    code = (
        f"import os, pathlib, time; pathlib.Path({str(begun)!r}).write_text(str(os.getpid()));"
        'time.sleep(0.4); print(\'{"error": "no such operator"}\')'
    )

    def busy() -> bool:
        while not begun.exists() or not eventually_gone(int(begun.read_text() or 0)):
            time.sleep(0.02)
        return stop

    with pytest.raises(ExportError, match="no such operator"):
        run_child(job, tmp_path / "log", 0.1, busy, argv=(sys.executable, "-c", code))


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    child = (
        "import os, time; from export.worker import die_with; die_with(os.getppid());"
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        assert eventually_gone(pid)


def test_no_secret_of_ours_reaches_the_child(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTBENCH_DATABASE_URL", "postgresql://user:secret@localhost/db")
    code = "import os, sys; sys.exit(os.environ.get('NIGHTBENCH_DATABASE_URL', 'told nothing'))"
    assert "its last words: told nothing" in ending(job, tmp_path / "log", code)


def test_sentences_out_of_library_noise() -> None:
    inner = ValueError("\n\x1b[31mop 'foo'\x1b[0m is unknown\nsee docs")
    outer = RuntimeError("export failed")
    outer.__cause__ = inner
    assert one_line(outer) == "ValueError: op 'foo' is unknown"
    assert last_line("first\nx.py:1: UserWarning: bad\n  warnings.warn(\n\n") == "x.py:1: UserWarning: bad"
    assert last_line(" \n") == ""
    assert one_line(ValueError("a\0b\udc80c\td")) == "ValueError: a\ufffdb\ufffdc d"
