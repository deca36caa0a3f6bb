"""One engine process: started with its job and its rows, ended with all that it started."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from loadgen.codec_json import job_to_json, result_from_json
from loadgen.job import Job, JobResult
from loadgen.recorder import Recorder
from nightbench.errors import NightbenchError
from nightbench.server import Protocol

__all__ = ["PARENT_VARIABLE", "ROWS_VARIABLE", "EngineProcess", "link_packages"]

PARENT_VARIABLE = "LOADGEN_PARENT_PID"
"""Who started the engine; without it the engine does not tie its life to anyone's."""
ROWS_VARIABLE = "LOADGEN_ROWS_FD"
"""The descriptor of the `Recorder` to fill."""

_STDERR_TAIL_BYTES = 2000
_INHERITED = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TZ")
_INHERITED_PREFIXES = ("CUDA_", "LC_", "NVIDIA_")
_PACKAGES = ("loadgen", "nightbench")


class EngineProcess:
    """``job`` under its endpoint's command or this interpreter, in a process group of its own.

    `OSError` if it cannot be started. Its rows may be closed from then on: it has them.
    """

    def __init__(self, job: Job, recorder: Recorder, workdir: Path, env: Mapping[str, str]) -> None:
        base = workdir / f"engine-{recorder.share}"
        job_file = base.with_suffix(".job")
        job_file.write_bytes(job_to_json(job))
        self._stdout = base.with_suffix(".stdout")
        self._stderr = base.with_suffix(".stderr")
        with ExitStack() as files:
            self._process = subprocess.Popen(
                (*(job.endpoint.command or (sys.executable,)), "-m", "loadgen"),
                stdin=files.enter_context(job_file.open("rb")),
                stdout=files.enter_context(self._stdout.open("wb")),
                stderr=files.enter_context(self._stderr.open("wb")),
                cwd=workdir,
                env=_environment(workdir, {ROWS_VARIABLE: str(recorder.fd), **_one_thread(job), **env}),
                pass_fds=(recorder.fd,),
                start_new_session=True,
            )
        self._ended = False
        self.exited = os.pidfd_open(self._process.pid)
        """Readable once the process has ended."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """Kill what is left of its group and wait for it."""
        if self._ended:
            return
        self._ended = True
        # Before the leader is reaped its number cannot be anyone else's.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self.exited)

    def result(self) -> JobResult:
        """What it said, or how it ended without a word. Only after its `end`."""
        code = self._process.returncode
        line = self._stdout.read_bytes()
        if code == 0 and line:
            try:
                return result_from_json(line)
            except NightbenchError as error:
                return JobResult.failed(f"the load engine's answer is {error}")
        tail = self._stderr.read_bytes()[-_STDERR_TAIL_BYTES:].decode("utf-8", "replace").strip()
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return JobResult.failed(f"the load engine {cause}" + (f": {tail}" if tail else ""))


def link_packages(workdir: Path) -> None:
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
        PARENT_VARIABLE: str(os.getpid()),
        **labels,
    }


def _one_thread(job: Job) -> dict[str, str]:
    """Over a wire the engine does no algebra: numpy's idle threads would only burn what is counted as its cost.

    In-process they belong to the model.
    """
    return {} if job.endpoint.protocol is Protocol.IN_PROCESS else {"OPENBLAS_NUM_THREADS": "1"}
