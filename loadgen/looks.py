"""Whether a run has told enough, or is hopeless: asked now and then by whoever waits for its engines.

The looks must not disturb what they look at. They happen in the caller's process; each is bounded, to `_MOST_ROWS`,
which is a few tenths of a second of one processor; and they grow ever rarer, so that all of them together take a
bounded multiple of the last.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loadgen.job import Job
from loadgen.recorder import Recorder, Stop
from loadgen.schedule import STOP_LEAD_NS
from nightbench.load import EndedBy
from nightbench.precision import first_look_s, next_look_s, reached
from nightbench.samples import Outcome, Samples
from nightbench.saturation import over_saturated, steady

__all__ = ["Looks"]

_MOST_ROWS = 2_000_000
_NS_PER_S = 1e9


class Looks:
    """Decides on the stop of one run and asks all its engines for it."""

    def __init__(self, job: Job, recorders: Sequence[Recorder]) -> None:
        self.why = ""
        """What was hopeless, in words."""
        self._job = job
        self._recorders = recorders
        self._started_ns = min(recorder.started_ns for recorder in recorders)
        self._watches_load = job.stop_over_saturated and steady(job.load)
        self._due_s = first_look_s(job.min_warmup_s)
        self._over = job.precision is None and not self._watches_load

    def look(self, now_ns: int) -> None:
        """Look if it is time to, and stop the run if there is reason to."""
        elapsed_s = (now_ns - self._started_ns) / _NS_PER_S
        if self._over or elapsed_s < self._due_s:
            return
        self._due_s = next_look_s(elapsed_s, self._job.min_warmup_s)
        due = [recorder.samples().between(0, now_ns) for recorder in self._recorders]
        if self._watches_load and (why := self._hopeless(due, now_ns)):
            self.why = why
            self._stop(now_ns, EndedBy.OVER_SATURATED)
        elif self._precise(due):
            self._stop(now_ns, EndedBy.PRECISION)

    def _stop(self, now_ns: int, cause: EndedBy) -> None:
        self._over = True
        for recorder in self._recorders:
            recorder.ask_to_stop(Stop(now_ns + STOP_LEAD_NS, cause))

    def _hopeless(self, due: Sequence[Samples], now_ns: int) -> str | None:
        if sum(map(len, due)) > _MOST_ROWS:
            # What was not hopeless over so many requests is not.
            return None
        if any(recorder.connections_short for recorder in self._recorders):
            # The backlog may be our own.
            return None
        due_ns = np.concatenate([share.intended_ns for share in due])
        # What timed out was given up by the client and took no work off the server.
        served = [share.done_ns * (share.outcome != Outcome.TIMEOUT) for share in due]
        done_ns = np.concatenate(served)
        done_ns[done_ns > now_ns] = 0
        order = np.argsort(due_ns, kind="stable")
        return over_saturated(due_ns[order], done_ns[order], self._started_ns, now_ns)

    def _precise(self, due: Sequence[Samples]) -> bool:
        """Looks at what was sent before anything that is still in flight.

        What was answered so far would leave out the slowest.
        """
        precision = self._job.precision
        if precision is None:
            return False
        warm_ns = self._started_ns + int(self._job.min_warmup_s * _NS_PER_S)
        until_ns = min(_all_answered_until(share) for share in due)
        return reached(
            _latency_ns([share.between(warm_ns, until_ns) for share in due]),
            _latency_ns([share.between(0, min(warm_ns, until_ns)) for share in due]),
            precision,
        )


def _all_answered_until(due: Samples) -> int:
    """Every request intended before this time has its outcome."""
    pending = due.done_ns == 0
    if pending.any():
        return int(due.intended_ns[np.argmax(pending)])
    return int(due.intended_ns[-1]) + 1 if len(due) else 0


def _latency_ns(shares: Sequence[Samples]) -> NDArray[np.int64]:
    """The successful latencies of the newest rows of all shares, in order of intended time."""
    newest = [share.where(slice(-(_MOST_ROWS // len(shares)), None)) for share in shares]
    latency_ns = np.concatenate([share.latency_ns[share.ok] for share in newest])
    if len(shares) == 1:
        return latency_ns
    intended_ns = np.concatenate([share.intended_ns[share.ok] for share in newest])
    return latency_ns[np.argsort(intended_ns, kind="stable")]
