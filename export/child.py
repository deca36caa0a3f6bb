"""Run one job in a process of its own, and turn every way it can end into an answer or one sentence."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from export.failure import last_line
from export.formats.base import THREADS
from export.job import Job, Prepared
from export.worker import Answer, Question
from nightbench.errors import ExportError
from nightbench.stopping import Stopped, never

__all__ = ["run_child"]

_POLL_S = 0.2
_WORKER = (sys.executable, "-P", "-m", "export")


def _environment() -> dict[str, str]:
    """Ours without our secrets, with libraries told to be quiet, small and off the GPU that may be measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTBENCH_")}
    return kept | {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": str(THREADS),
        "TOKENIZERS_PARALLELISM": "false",
    }


def run_child(
    job: Job,
    log: Path,
    timeout_s: float,
    should_stop: Callable[[], bool] = never,
    argv: Sequence[str] = _WORKER,
) -> Prepared:
    """Do ``job`` in a child process, whose noise is appended to ``log``.

    Raises `ExportError` with one sentence when the job fails, or when the child crashes, is killed or takes longer than
    ``timeout_s``; `Stopped` soon after ``should_stop`` turns true. Whatever happens, no process is left.
    """
    purpose = f"preparing {job.spec.name} in {job.format}"
    question = TypeAdapter(Question).dump_json(Question(job, parent=os.getpid()))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as noise:
        start = noise.tell()
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            env=_environment(),
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
        try:
            stdout = _stdout(child, question, timeout_s, should_stop, purpose)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"{purpose} took longer than {timeout_s:g} s and was ended{_last_words(log, start)}"
            ) from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
    reply = _parse(stdout)
    if reply.prepared is not None:
        return reply.prepared
    if reply.error is not None:
        raise ExportError(f"{reply.error} (log: {log})")
    raise ExportError(f"{purpose} {_ending(child.returncode)}{_last_words(log, start)}")


def _stdout(
    child: "subprocess.Popen[bytes]", question: bytes, timeout_s: float, should_stop: Callable[[], bool], purpose: str
) -> bytes:
    """Ask, and wait for the whole answer; `subprocess.TimeoutExpired` or `Stopped` if there is none."""
    deadline = time.monotonic() + timeout_s
    unasked: bytes | None = question
    stop = False
    while True:
        late = time.monotonic() > deadline
        try:
            # Also before giving it up: it may have ended while `should_stop` took its time.
            return child.communicate(unasked, _POLL_S)[0]
        except subprocess.TimeoutExpired:
            if stop:
                raise Stopped(f"{purpose} was stopped") from None
            if late:
                raise
        unasked = None
        stop = should_stop()


def _parse(stdout: bytes) -> Answer:
    """The answer on the last line; an empty one where there is none."""
    lines = stdout.splitlines()
    try:
        return TypeAdapter(Answer).validate_json(lines[-1] if lines else b"")
    except ValidationError:
        return Answer()


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode} and no answer"
    name = signal.Signals(-returncode).name
    cause = ", most likely because memory ran out" if name == "SIGKILL" else ""
    return f"was killed by {name}{cause}"


def _last_words(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        line = last_line(file.read().decode(errors="replace"))
    return f"; its last words: {line} (log: {log})" if line else f" (log: {log})"
