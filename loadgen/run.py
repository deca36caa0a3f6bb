"""Run the load engine as the process of its own that it is, and never be left waiting for it."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from loadgen.codec_json import job_to_json, result_from_json
from loadgen.job import Job, JobResult
from nightbench.errors import NightbenchError
from nightbench.server import Protocol
from nightbench.stopping import Stopped, never

__all__ = ["run_job"]

_POLL_S = 0.2
_START_S = 60.0
"""To start, prepare, verify and write: generous, because it only ends engines that hang."""
_MODEL_LOAD_S = 300.0
_STDERR_TAIL_BYTES = 2000
_INHERITED = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TZ")
_INHERITED_PREFIXES = ("CUDA_", "LC_", "NVIDIA_")
_PACKAGES = ("loadgen", "nightbench")


def _unheard(_: int) -> None:
    pass


def run_job(
    job: Job,
    should_stop: Callable[[], bool] = never,
    env: Mapping[str, str] | None = None,
    on_start: Callable[[int], None] = _unheard,
    workdir_root: Path | None = None,
) -> JobResult:
    """Measure ``job`` in a fresh process, whose id ``on_start`` is told, and wait for it.

    The engine runs under ``job.endpoint.command`` or this interpreter, with ``env`` added to a minimal
    environment. `Stopped` is raised soon after ``should_stop`` turns true, unless the engine ended meanwhile. An
    engine that dies, hangs past its deadline or cannot be started is a result with ``error``. Whatever happens, its
    process group is gone, and so is its temporary folder, which is made in ``workdir_root`` (``None`` is the
    system's). Only a SIGKILL of this process leaves the folder behind: hand a root that somebody cleans.
    """
    job = _with_absolute_paths(job)
    with tempfile.TemporaryDirectory(
        prefix="nightbench-engine-",
        dir=workdir_root and workdir_root.absolute(),
        # What a model wrote there a moment ago must not cost us the result.
        ignore_cleanup_errors=True,
    ) as folder:
        workdir = Path(folder)
        _link_packages(workdir)
        (workdir / "job").write_bytes(job_to_json(job))
        with (
            (workdir / "job").open("rb") as line,
            (workdir / "stdout").open("w+b") as out,
            (workdir / "stderr").open("w+b") as err,
        ):
            try:
                process = subprocess.Popen(
                    (*(job.endpoint.command or (sys.executable,)), "-m", "loadgen"),
                    stdin=line,
                    stdout=out,
                    stderr=err,
                    cwd=workdir,
                    env=_environment(workdir, {**_one_thread(job), **(env or {})}),
                    start_new_session=True,
                )
            except OSError as error:
                return JobResult.failed(f"the load engine cannot be started: {error}")
            with process:
                try:
                    on_start(process.pid)
                    in_time = _wait(process, job, should_stop)
                finally:
                    # Before the leader is reaped its number cannot be anyone else's.
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            return _result(process.returncode, in_time, out, err)


def _with_absolute_paths(job: Job) -> Job:
    """The engine has a working directory of its own."""
    endpoint = job.endpoint
    endpoint = replace(
        endpoint,
        module=endpoint.module and endpoint.module.absolute(),
        artifact=endpoint.artifact and endpoint.artifact.absolute(),
    )
    return replace(job, endpoint=endpoint, pool=job.pool.absolute(), samples=job.samples.absolute())


def _link_packages(workdir: Path) -> None:
    """Show another environment's interpreter our two packages and none of their neighbours.

    A neighbour may be a whole ``site-packages`` that was built for another Python.
    """
    root = Path(__file__).resolve().parents[1]
    for name in _PACKAGES:
        (workdir / name).symlink_to(root / name)


def _environment(workdir: Path, labels: Mapping[str, str]) -> dict[str, str]:
    """No settings and no secrets: the engine may run other people's code."""
    inherited = {
        name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    return inherited | {
        "PYTHONPATH": str(workdir),
        "TMPDIR": str(workdir),
        "PYTHONNOUSERSITE": "1",
        "LOADGEN_PARENT_PID": str(os.getpid()),
        **labels,
    }


def _one_thread(job: Job) -> dict[str, str]:
    """Over a wire the engine does no algebra: numpy's idle threads would only burn what is counted as its cost.

    In-process they belong to the model.
    """
    return {} if job.endpoint.protocol is Protocol.IN_PROCESS else {"OPENBLAS_NUM_THREADS": "1"}


def _wait(process: "subprocess.Popen[bytes]", job: Job, should_stop: Callable[[], bool]) -> bool:
    """Wait without reaping; false if the engine has not ended and its deadline is over.

    An engine that has ended is never given up, however long ``should_stop`` took to answer meanwhile.
    """
    allowed_s = job.duration_s + job.timeout_s + _START_S
    if job.endpoint.protocol is Protocol.IN_PROCESS:
        allowed_s += _MODEL_LOAD_S
    deadline = time.monotonic() + allowed_s
    exited = os.pidfd_open(process.pid)
    try:
        while not select.select([exited], [], [], _POLL_S)[0]:
            late = time.monotonic() > deadline
            stop = should_stop()
            if select.select([exited], [], [], 0)[0]:
                break
            if stop:
                raise Stopped("measuring was stopped")
            if late:
                return False
    finally:
        os.close(exited)
    return True


def _result(code: int, in_time: bool, out: IO[bytes], err: IO[bytes]) -> JobResult:
    if not in_time:
        return JobResult.failed("the load engine did not end in time and was killed")
    out.seek(0)
    line = out.read()
    if code == 0 and line:
        try:
            return result_from_json(line)
        except NightbenchError as error:
            return JobResult.failed(f"the load engine's answer is {error}")
    err.seek(0)
    tail = err.read()[-_STDERR_TAIL_BYTES:].decode("utf-8", "replace").strip()
    cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return JobResult.failed(f"the load engine {cause}" + (f": {tail}" if tail else ""))
