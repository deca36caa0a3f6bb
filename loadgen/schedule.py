"""When a run sends, ends and gives up, and the rows it will fill; all decided before it begins."""

import time
from dataclasses import dataclass

from loadgen.arrivals import offsets_ns
from loadgen.clock import now_ns
from loadgen.job import Job
from loadgen.recorder import Phase, Recorder, Stop
from loadgen.shares import shares_of
from loadgen.trace import read_trace
from nightbench.errors import NightbenchError, UsageError
from nightbench.load import EndedBy, OpenLoop

__all__ = ["LEAD_NS", "LOOK_NS", "STOP_LEAD_NS", "Ending", "Window", "begin", "ending", "reserve"]

LEAD_NS = 50_000_000
"""Between saying when to start and starting: for turning the schedule into times."""
LOOK_NS = 50_000_000
"""The engine heeds a stop at the latest so long after it was asked."""
STOP_LEAD_NS = 2 * LOOK_NS
"""A stop that lies so far ahead is heeded by every share before it comes, and cuts all of them at one time."""
MOST_ROWS = 50_000_000
"""In all shares, 49 bytes each. A page of them exists once it is used; an open loop's due times are at once."""
MOST_MARKS = 20_000_000
"""In all shares, 24 bytes each."""
_AGREE_S = 0.001
_HOPELESS_DRAIN_NS = 1_000_000_000
"""What an over-saturated server has not answered by then tells nothing that the backlog did not."""


@dataclass(frozen=True, slots=True)
class Window:
    """When sending begins and ends, and when what is still in flight is given up."""

    start_ns: int
    end_ns: int
    drained_ns: int
    by: EndedBy = EndedBy.DURATION
    """What ends it, if nothing else does before."""

    def ended_by(self, stop: Stop) -> "Window":
        """The window when ``stop`` ends it. A server that is hopelessly behind is not waited for as long as others."""
        patience_ns = self.drained_ns - self.end_ns
        if stop.cause is EndedBy.OVER_SATURATED:
            patience_ns = min(patience_ns, _HOPELESS_DRAIN_NS)
        return Window(self.start_ns, stop.at_ns, stop.at_ns + patience_ns, stop.cause)


@dataclass(frozen=True, slots=True)
class Ending:
    """What ended the sending, and when."""

    by: EndedBy
    at_ns: int


def reserve(job: Job) -> list[Recorder]:
    """A recorder for each of ``job.workers``. Together, and with those of other machines if the job is a part, they
    hold an open loop's one schedule, dealt row by row.

    `NightbenchError` if there is no such schedule, or none that memory would hold.
    """
    first, shares = shares_of(job)
    own = range(first, first + job.workers)
    marks = MOST_MARKS // job.workers
    if not isinstance(job.load, OpenLoop):
        most = min(MOST_ROWS, job.max_requests if job.max_requests is not None else MOST_ROWS)
        return [Recorder.create(-(-most // shares), marks, share, shares) for share in own]
    expected = job.load.rate_rps * job.duration_s
    if expected > MOST_ROWS:
        raise UsageError(
            f"load {job.load.label}: {expected:.3g} requests in {job.duration_s:g} s are more than the {MOST_ROWS} "
            "that a run may have; give a lower rate or a shorter duration"
        )
    trace_s = None if job.load.trace is None else read_trace(job.load.trace)
    try:
        offsets = offsets_ns(job.load, job.duration_s, job.seed, trace_s)[: job.max_requests]
    except ValueError as error:
        raise NightbenchError(f"load {job.load.label}: {error}") from error
    recorders = []
    for share in own:
        dealt = offsets[share::shares]
        recorder = Recorder.create(len(dealt), marks, share, shares)
        recorder.schedule(dealt)
        recorders.append(recorder)
    return recorders


def begin(job: Job, recorder: Recorder) -> Window:
    """The run's times: a closed loop alone begins now, an open loop a little later, shares when they are told to.

    Returns when a closed loop may begin; whatever is scheduled is not due before this returns.
    """
    scheduled = isinstance(job.load, OpenLoop)
    if scheduled:
        # Reading maps the pages, which may take longer than writing them.
        recorder.array("intended_ns")[: recorder.rows].max(initial=0)
    recorder.phase = Phase.READY
    start_ns = _agreed(recorder) if recorder.shares > 1 else now_ns() + (LEAD_NS if scheduled else 0)
    recorder.begin(start_ns)
    if not scheduled:
        time.sleep(max(0, start_ns - now_ns()) / 1e9)
    end_ns = start_ns + int(job.duration_s * 1e9)
    return Window(start_ns, end_ns, end_ns + int(job.timeout_s * 1e9))


def ending(job: Job, recorder: Recorder, window: Window) -> Ending:
    """What ended the sending: the end of ``window``, or that there was no row left to send."""
    rows = recorder.rows
    if rows == job.max_requests:
        by = EndedBy.REQUESTS
    elif rows == recorder.row_capacity and not isinstance(job.load, OpenLoop):
        by = EndedBy.ROWS
    else:
        return Ending(window.by, window.end_ns)
    return Ending(by, recorder.intended_ns[rows - 1] if rows else window.start_ns)


def _agreed(recorder: Recorder) -> int:
    """Wait for the caller, who ends this process if the others never get ready."""
    while not (start_ns := recorder.agreed_start_ns):
        time.sleep(_AGREE_S)
    return start_ns
