"""Run one job in a process of its own, and turn every way it can end into an answer or one sentence."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from export.descendants import apart_bytes, descendants, end
from export.failure import last_line
from export.formats.base import THREADS
from export.job import Job, Prepared
from export.memory import group_bytes
from export.worker import Answer, Question
from nightbench.errors import ExportError
from nightbench.model import Format
from nightbench.stopping import Stopped, never

__all__ = ["run_child"]

_POLL_S = 0.2
"""How often time, memory and noise are looked at. Memory fills at a few GiB/s, so that much it may overshoot."""
_NOISE_BYTES = 32 * 2**20
"""What a child may leave in its log; of more, the end is kept."""
_LAST_BYTES = 64 * 2**10
_ROOT = str(Path(__file__).parents[1])
# As ``-m export``, and also from a checkout that is not installed: a GPU machine without a network, say. It stands last
# on the path, where it can hide no other package.
_START = "import runpy, sys; sys.path.append(sys.argv[1]); runpy.run_module('export', run_name='__main__')"
_WORKER = (sys.executable, "-P", "-c", _START, _ROOT)


def _environment(job: Job) -> dict[str, str]:
    """Ours without our secrets, with libraries told to be quiet, small and off the GPU that may be measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTBENCH_")}
    if job.format is not Format.TENSORRT:  # which is built by trying kernels on the GPU
        kept["CUDA_VISIBLE_DEVICES"] = ""
    return kept | {
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
    memory_bytes: int | None = None,
) -> Prepared:
    """Do ``job`` in a child process, whose noise is appended to ``log``.

    Raises `ExportError` with one sentence when the job fails, or when the child crashes, is killed, takes longer than
    ``timeout_s`` or holds more than ``memory_bytes``; `Stopped` soon after ``should_stop`` turns true. Whatever
    happens, no process of its group is left, nor one that it started in another and that was seen to be its own.

    Memory is what all of these hold, looked at from outside. A limit of the kernel's on address space or data
    (``RLIMIT_AS``, ``RLIMIT_DATA``) would bind each process alone and count what is only reserved, which torch and its
    like do by the GiB; and what it breaks ends in whatever way a library fails, not in a sentence.
    """
    purpose = f"preparing {job.spec.name} in {job.format}"
    question = TypeAdapter(Question).dump_json(Question(job, parent=os.getpid()))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a+b", buffering=0) as noise:
        start = noise.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            env=_environment(job),
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
        _offer_first(child.pid)
        seen: set[psutil.Process] = set()
        watch = partial(_watch, child.pid, seen, log, start, memory_bytes)
        try:
            stdout = _stdout(child, question, timeout_s, should_stop, watch, purpose)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"{purpose} took longer than {timeout_s:g} s and was ended{_last_words(log, start)}"
            ) from None
        except _TooLargeError as error:
            limit = (memory_bytes or 0) / 2**30
            raise ExportError(
                f"{purpose} held {error.held / 2**30:.1f} GiB of memory and was ended, its limit being {limit:.1f}; "
                f"raise 'memory_gib' of the suite's 'export'{_last_words(log, start)}"
            ) from None
        finally:
            seen |= descendants(child.pid)  # before it ends: they are its own no more then
            with suppress(ProcessLookupError):  # whom the child left behind, though it ended by itself
                os.killpg(child.pid, signal.SIGKILL)
            end(seen)
            child.wait()  # but not for the end of its output, which somebody who left the group may hold open
            for pipe in filter(None, (child.stdin, child.stdout)):
                with suppress(OSError):
                    pipe.close()
            _trim(log, start)
    reply = _parse(stdout)
    if reply.prepared is not None:
        return reply.prepared
    if reply.error is not None:
        raise ExportError(f"{reply.error} (log: {log})")
    raise ExportError(f"{purpose} {_ending(child.returncode)}{_last_words(log, start)}")


def _stdout(
    child: "subprocess.Popen[bytes]",
    question: bytes,
    timeout_s: float,
    should_stop: Callable[[], bool],
    watch: Callable[[], None],
    purpose: str,
) -> bytes:
    """Ask, and wait for the whole answer; `subprocess.TimeoutExpired`, `Stopped` or what ``watch`` raises if none."""
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
        watch()
        stop = should_stop()


class _TooLargeError(Exception):
    def __init__(self, held: int) -> None:
        super().__init__(held)
        self.held = held


def _watch(child: int, seen: set[psutil.Process], log: Path, start: int, memory_bytes: int | None) -> None:
    """Look at what the child's processes are, hold and print; `_TooLargeError` if they hold too much."""
    _trim(log, start)
    seen |= descendants(child)
    if memory_bytes is not None and (held := group_bytes(child) + apart_bytes(seen, child)) > memory_bytes:
        raise _TooLargeError(held)


def _offer_first(pid: int) -> None:
    """If the machine does run out of memory, let the kernel end the child and what it starts before all others."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def _trim(log: Path, start: int) -> None:
    """Keep the end alone of what was written after ``start``, if it is too much; the child goes on after it."""
    with log.open("r+b", buffering=0) as file:  # not for appending: the child may write in between
        noise = file.fileno()
        size = os.fstat(noise).st_size
        if size - start > _NOISE_BYTES:
            last = os.pread(noise, _LAST_BYTES, size - _LAST_BYTES)
            kept = b"(much was printed before this and is left out)\n" + last
            os.pwrite(noise, kept, start)
            os.ftruncate(noise, start + len(kept))


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
