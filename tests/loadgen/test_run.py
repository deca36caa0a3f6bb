"""The engine as a process of its own: it answers, or its caller learns why not, and nothing is left behind."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from loadgen.job import Job
from loadgen.run import run_job
from nightbench.load import Arrival, ClosedLoop, OpenLoop
from nightbench.samples import Samples
from nightbench.server import Endpoint, Protocol
from nightbench.stopping import Stopped

JobMaker = Callable[..., Job]


def engines(label: str) -> list[psutil.Process]:
    """The live engines that carry this label in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            labelled = process.environ().get("TEST_LABEL") == label
            if labelled and process.status() != psutil.STATUS_ZOMBIE and "loadgen" in process.cmdline():
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def wait_for_engine(label: str) -> psutil.Process:
    for _ in range(500):
        if found := engines(label):
            return found[0]
        time.sleep(0.02)
    raise AssertionError("no engine appeared")


def test_a_job_runs_in_a_process_of_its_own(serve, job: JobMaker) -> None:
    one = min(os.sched_getaffinity(0))
    load = OpenLoop(100.0, Arrival.CONSTANT)
    result = run_job(job(serve().port, load=load, verify_every=1, cpus=(one,)), env={"TEST_LABEL": "plain"})
    assert (result.error, result.outcomes, result.verified) == (None, {"ok": 20}, 20)
    assert abs(result.ended_ns - time.monotonic_ns()) < 60e9
    assert len(Samples.load(job(1).samples)) == 20
    assert not engines("plain")


def test_relative_paths_are_the_callers(serve, job: JobMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = job(serve().port, pool=Path("pool.npz"), samples=Path("out.npz"), max_requests=3)
    assert run_job(relative).outcomes == {"ok": 3}
    assert len(Samples.load(tmp_path / "out.npz")) == 3


def test_should_stop_ends_the_engine(serve, job: JobMaker) -> None:
    server = serve()
    with pytest.raises(Stopped):
        run_job(
            job(server.port, duration_s=60),
            should_stop=lambda: bool(server.bodies),
            env={"TEST_LABEL": "stopped"},
        )
    assert not engines("stopped")


def test_an_engine_that_is_killed_is_a_result(serve, job: JobMaker) -> None:
    killer = threading.Thread(target=lambda: wait_for_engine("killed").kill())
    killer.start()
    result = run_job(job(serve().port, duration_s=60), env={"TEST_LABEL": "killed"})
    killer.join()
    assert result.error == "the load engine was killed by SIGKILL"


def test_an_engine_past_its_deadline_is_killed(job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.run._START_S", -2.0)
    result = run_job(job(1, duration_s=0.5, timeout_s=0.5), env={"TEST_LABEL": "late"})
    assert result.error == "the load engine did not end in time and was killed"
    assert not engines("late")


@pytest.mark.parametrize("stop", [False, True])
def test_an_engine_that_ended_while_its_caller_was_busy_is_kept(
    serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    """A slow ``should_stop`` must not cost a measurement that is already there."""
    monkeypatch.setattr("loadgen.run._START_S", -100.0)
    engine: list[int] = []

    def busy() -> bool:
        select.select(engine, [], [])
        return stop

    one = job(serve().port, max_requests=3)
    result = run_job(one, busy, on_start=lambda pid: engine.append(os.pidfd_open(pid)))
    os.close(engine[0])
    assert (result.error, result.outcomes) == (None, {"ok": 3})


def test_its_folder_lies_where_it_was_told_and_is_gone(serve, job: JobMaker, tmp_path: Path) -> None:
    root = tmp_path / "ours"
    root.mkdir()
    seen: list[str] = []
    result = run_job(
        job(serve().port, max_requests=3),
        on_start=lambda _pid: seen.extend(path.name for path in root.iterdir()),
        workdir_root=root,
    )
    assert result.error is None
    assert len(seen) == 1
    assert list(root.iterdir()) == []


def test_an_engine_dies_with_its_caller(serve, job: JobMaker, tmp_path: Path) -> None:
    from loadgen.codec_json import job_to_json

    line = tmp_path / "job.json"
    line.write_bytes(job_to_json(job(serve().port, duration_s=60)))
    script = (
        "import sys\nfrom pathlib import Path\nfrom loadgen.codec_json import job_from_json\n"
        "from loadgen.run import run_job\n"
        "line = Path(sys.argv[1])\n"
        "run_job(job_from_json(line.read_bytes()), env={'TEST_LABEL': 'orphan'}, workdir_root=line.parent)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", script, str(line)])
    try:
        engine = wait_for_engine("orphan")
        # It has asked to die with its caller by the time it sends.
        while not engine.net_connections():
            time.sleep(0.02)
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    psutil.wait_procs([engine], timeout=10)
    assert not engines("orphan")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"pool": Path("/nowhere/pool.npz")}, "input pool /nowhere/pool.npz: cannot be read: "),
        ({"endpoint": Endpoint(Protocol.RAW_HTTP, "no.such.host.invalid", 1)}, "host 'no.such.host.invalid': "),
        ({"endpoint": Endpoint(Protocol.RAW_HTTP, "127.0.0.1", 1, command=("/no/python",))}, "the load engine"),
        ({"cpus": (100_000,)}, "OSError: "),
        ({"samples": Path("/nowhere/samples.npz"), "max_requests": 1}, "FileNotFoundError: "),
        ({"load": OpenLoop(1e12)}, "load poisson 1e+12 rps: 2e+11 requests in 0.2 s are more than the 50000000 that"),
        ({"batch": 0}, "batch: 0 is wrong; it should be 1 or more"),
    ],
)
def test_what_cannot_begin_is_an_error_in_one_line(job: JobMaker, fields: dict, error: str) -> None:
    result = run_job(job(1, **fields))
    assert result.error is not None
    assert result.error.startswith(error)
    assert "\n" not in result.error
    assert result.requests == 0


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (MemoryError("8 EiB"), "no memory can be reserved for the samples: 8 EiB"),
        (ValueError("of all things"), "load closed c2 cannot be scheduled: ValueError: of all things"),
    ],
)
def test_a_schedule_that_cannot_be_made_is_a_result(
    job: JobMaker, monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    def fail(_: Job) -> None:
        raise raised

    monkeypatch.setattr("loadgen.run.reserve", fail)
    assert run_job(job(1)).error == said


def test_without_a_folder_to_work_in_there_is_a_result_and_nothing_stays_open(job: JobMaker, tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    result = run_job(job(1), workdir_root=tmp_path / "nowhere")
    assert result.error is not None
    assert result.error.startswith("the load engine has no folder to work in: ")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_engine_that_cannot_import_says_so(job: JobMaker, tmp_path: Path) -> None:
    # An interpreter without our dependencies: the end of its complaint is in the result.
    bare = Endpoint(Protocol.RAW_HTTP, "127.0.0.1", 1, command=(sys.executable, "-S"))
    result = run_job(job(1, endpoint=bare))
    assert result.error is not None
    assert result.error.startswith("the load engine ended with exit code 1: ")
    assert "No module named" in result.error


def test_the_engine_needs_only_numpy_and_pydantic() -> None:
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('psutil', 'rich', 'yaml', 'cyclopts', 'hdrh', 'scipy'):\n"
        "            raise AssertionError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import loadgen.__main__, loadgen.in_process, loadgen.protocols.raw_http\n"
        "import loadgen.protocols.kserve_http\n"
        "assert 'nightbench.record' not in sys.modules\n"
        # Its caller, who judges what it sees, needs no more packages.
        "import loadgen.run\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_standard_output_holds_one_line_of_json_even_for_nonsense() -> None:
    done = subprocess.run([sys.executable, "-m", "loadgen"], input=b"{}", capture_output=True, check=True, timeout=60)
    assert done.stdout.count(b"\n") == 1
    assert b'"error":"not a job: ' in done.stdout
    assert done.stderr == b""


def test_concurrent_jobs_do_not_disturb_each_other(serve, job: JobMaker, tmp_path: Path) -> None:
    server = serve()
    results = []
    threads = [
        threading.Thread(
            target=lambda n=n: results.append(
                run_job(job(server.port, samples=tmp_path / f"{n}.npz", max_requests=5, load=ClosedLoop(1)))
            )
        )
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.outcomes for result in results] == [{"ok": 5}] * 2
