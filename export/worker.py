"""The child process's side: one job in, one answer out. The only place where torch is loaded for real."""

import os
import resource
import sys
import threading
import time
import traceback
from dataclasses import dataclass

from export.cache import Cache
from export.descendants import adopt_orphans, descendants, end
from export.failure import clean
from export.formats.base import THREADS
from export.job import Job, Prepared, prepare_with
from nightbench.errors import NightbenchError

__all__ = ["Answer", "Question", "answer", "die_with"]


@dataclass(frozen=True, slots=True)
class Question:
    """What stands on standard input, as JSON."""

    job: Job
    parent: int | None = None
    """The process whose death ends this one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The last line of standard output, as JSON: one of the two is there."""

    prepared: Prepared | None = None
    error: str | None = None
    """One sentence."""


def die_with(parent: int) -> None:
    """End this process, and what it started, soon after ``parent`` is gone: a killed run leaves no exporter behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        end(descendants(os.getpid()))
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def answer(job: Job) -> Answer:
    """Do the job. What fails is told in the answer, and in full on standard error.

    Whatever the job started has ended then.
    """
    adopt_orphans()
    import torch

    torch.set_num_threads(THREADS)
    try:
        return Answer(prepared=prepare_with(Cache(job.cache), job))
    except NightbenchError as error:
        traceback.print_exc()
        return Answer(error=clean(str(error)))
    finally:
        end(descendants(os.getpid()))
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"peak resident memory: {kib // 1024} MiB", file=sys.stderr)
