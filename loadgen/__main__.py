"""The load engine as a process.

``python -m loadgen PLAN.json`` measures one cell and prints how it went as one line of JSON, a `loadgen.job.JobResult`;
its ``error`` is null where the cell was measured. The exit code is 0 then, 1 where it could not be measured, and 2
where the plan is none, or asks for what cannot be. The plan is a `loadgen.job.Job` as JSON:

    {
      "endpoint": {"protocol": "raw-http", "host": "127.0.0.1", "port": 8000, "model": "m"},
      "load": {"concurrency": 16},
      "batch": 1,
      "inputs": [{"name": "x", "dtype": "FP32", "shape": [3]}],
      "outputs": [{"name": "y", "dtype": "FP32", "shape": [3]}],
      "pool": "pool.npz",
      "tolerance": {"max_abs": 1e-4, "max_rel": 1e-4},
      "duration_s": 10.0,
      "samples": "samples.npz"
    }

- ``endpoint``: `nightbench.server.Endpoint`; ``protocol`` is one of `nightbench.server.Protocol`.
- ``load``: ``{"concurrency": N}`` for a closed loop, ``{"rate_rps": R, "arrival": "poisson"}`` for an open one, with
  the further fields of `nightbench.load.OpenLoop`.
- ``inputs`` and ``outputs``: `nightbench.model.TensorSpec`, shapes without the batch. No outputs: nothing is compared.
- ``pool``: an ``.npz`` with an array ``in.NAME`` for every input and ``out.NAME`` for every output, items along the
  first axis. ``samples``: where the rows go, for `nightbench.samples.Samples.load`. Both may be relative to the plan.
- Optional, with the defaults of `loadgen.job.Job`: ``seed``, ``timeout_s``, ``verify_every``, ``max_requests``,
  ``cpus``, ``workers``, ``precision`` (``{"p50": 0.02, "p99": 0.1}``), ``min_warmup_s``, ``stop_over_saturated``,
  ``pacing``. A field of another name is refused.

Without an argument this is one engine process, as `loadgen.run` starts it: the same JSON on standard input, one line of
JSON on standard output and nothing else there. Its rows go to the memory that its caller names, or, without a caller,
to ``samples``. Whatever a model or a library prints goes to standard error.
"""

import ctypes
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from loadgen.check import check_job
from loadgen.codec_json import job_from_json, result_to_json
from loadgen.engine import measure, run
from loadgen.job import JobResult
from loadgen.process import PARENT_VARIABLE, ROWS_VARIABLE
from loadgen.recorder import Recorder
from nightbench.errors import NightbenchError, UsageError

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(__doc__)
        return
    if len(sys.argv) > 2:
        sys.exit("usage: python -m loadgen [PLAN.json]")
    if len(sys.argv) == 2:
        # As an exception, so that nothing is left behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            sys.exit(_carry_out(Path(sys.argv[1])))
        except UsageError as error:
            print(f"loadgen: {error}", file=sys.stderr)
            sys.exit(2)
    _be_the_engine()


def _carry_out(path: Path) -> int:
    """Measure the plan in ``path`` and print its result; the exit code. `UsageError` if it holds no plan."""
    from loadgen.run import run_job

    try:
        job = job_from_json(path.read_bytes())
        check_job(job)
    except (OSError, NightbenchError) as error:
        raise UsageError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error
    job = replace(job, pool=path.parent / job.pool, samples=path.parent / job.samples)
    result = run_job(job)
    print(result_to_json(result).decode())
    return 0 if result.error is None else 1


def _be_the_engine() -> None:
    _die_with_parent()
    warnings.simplefilter("ignore")
    answers = os.dup(1)
    os.dup2(2, 1)
    line = result_to_json(_measure(sys.stdin.buffer.read()))
    with os.fdopen(answers, "wb") as out:
        out.write(line + b"\n")
    # A model call that hangs must not keep the process, nor a library's teardown spoil a good result.
    os._exit(0)


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
        fd = os.environ.get(ROWS_VARIABLE, "")
        return measure(job, Recorder(int(fd))) if fd.isdecimal() else run(job)
    except NightbenchError as error:
        return JobResult.failed(str(error))
    except Exception as error:  # noqa: BLE001 - a model's module may raise anything; it is this job's result
        return JobResult.failed(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
