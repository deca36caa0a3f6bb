"""``python -m loadgen``: a job on standard input, one line of JSON on standard output, nothing else there.

Standard output is kept for the result: whatever a model or a library prints goes to standard error instead.
"""

import ctypes
import os
import signal
import sys
import warnings

from loadgen.codec_json import job_from_json, result_to_json
from loadgen.engine import run
from loadgen.job import JobResult
from nightbench.errors import NightbenchError

__all__ = ["PARENT_VARIABLE", "main"]

PARENT_VARIABLE = "LOADGEN_PARENT_PID"
"""Who started the engine; without it the engine does not tie its life to anyone's."""

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Be killed when the caller dies, however it dies. (Strictly: when the thread that started us ends.)"""
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent.isdecimal() or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        # It died before we asked.
        os._exit(1)


def _measure(line: bytes) -> JobResult:
    try:
        job = job_from_json(line)
        if job.cpus is not None:
            os.sched_setaffinity(0, job.cpus)
        return run(job)
    except NightbenchError as error:
        return JobResult.failed(str(error))
    except Exception as error:  # noqa: BLE001 - a model's module may raise anything; it is this job's result
        return JobResult.failed(f"{type(error).__name__}: {error}")


def main() -> None:
    _die_with_parent()
    warnings.simplefilter("ignore")
    answers = os.dup(1)
    os.dup2(2, 1)
    line = result_to_json(_measure(sys.stdin.buffer.read()))
    with os.fdopen(answers, "wb") as out:
        out.write(line + b"\n")
    # A model call that hangs must not keep the process, nor a library's teardown spoil a good result.
    os._exit(0)


if __name__ == "__main__":
    main()
