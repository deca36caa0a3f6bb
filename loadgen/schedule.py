"""When a run sends, ends and gives up, and the rows it will fill; all decided before it begins."""

from dataclasses import dataclass

from loadgen.arrivals import offsets_ns
from loadgen.clock import now_ns
from loadgen.job import Job
from loadgen.recorder import Recorder
from nightbench.load import OpenLoop

__all__ = ["Window", "plan"]

_LEAD_NS = 50_000_000
"""For writing the schedule down before its first request is due."""


@dataclass(frozen=True, slots=True)
class Window:
    """When sending begins and ends, and when what is still in flight is given up."""

    start_ns: int
    end_ns: int
    drained_ns: int


def plan(job: Job) -> tuple[Window, Recorder]:
    """A closed loop begins now with no rows; an open loop a little later, with every row and its time."""
    if not isinstance(job.load, OpenLoop):
        return _window(job, now_ns()), Recorder()
    offsets = offsets_ns(job.load, job.duration_s, job.seed)[: job.max_requests]
    window = _window(job, now_ns() + _LEAD_NS)
    return window, Recorder.scheduled(window.start_ns + offsets)


def _window(job: Job, start_ns: int) -> Window:
    end_ns = start_ns + int(job.duration_s * 1e9)
    return Window(start_ns, end_ns, end_ns + int(job.timeout_s * 1e9))
