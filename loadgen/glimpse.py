"""A look at a run while it goes on: cheap, from the rows that its engines are filling."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.recorder import Recorder
from nightbench.samples import Outcome

__all__ = ["Glimpse", "LiveView"]

_RECENT_NS = 1_000_000_000
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class Glimpse:
    """How a run stands. Counts are of the whole run so far; ``recent`` is the last second."""

    elapsed_s: float
    """Since the start of sending, warm-up included; 0 before it."""
    sent: int
    answered: int
    """Requests that have an outcome, whatever it is."""
    ok: int
    failed: int
    in_flight: int
    recent_rps: float
    """Successful answers a second."""
    recent_p50_ns: int | None
    """Of the latency of successful answers; ``None`` where there were none."""
    recent_p99_ns: int | None


class LiveView:
    """Makes glimpses of a run, one after the other.

    Rows get their outcomes nearly in order, so each row is counted once, when all before it are done, and what is
    looked at every time is the last second and what is in flight.
    """

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._started_ns = min(recorder.started_ns for recorder in recorders)
        self._shares = [_Share(recorder) for recorder in recorders]

    def glimpse(self, now_ns: int) -> Glimpse:
        recent: list[NDArray[np.int64]] = []
        sent = answered = ok = 0
        for share in self._shares:
            share.look(now_ns)
            sent += share.sent
            answered += share.answered
            ok += share.ok
            recent.append(share.recent_ns)
        latency_ns = np.concatenate(recent)
        elapsed_s = max(0, now_ns - self._started_ns) / _NS_PER_S
        p50, p99 = _quantiles(latency_ns)
        return Glimpse(
            elapsed_s=elapsed_s,
            sent=sent,
            answered=answered,
            ok=ok,
            failed=answered - ok,
            in_flight=sent - answered,
            recent_rps=len(latency_ns) / min(_RECENT_NS / _NS_PER_S, elapsed_s) if elapsed_s > 0 else 0.0,
            recent_p50_ns=p50,
            recent_p99_ns=p99,
        )


class _Share:
    """What is known of one engine's rows."""

    def __init__(self, recorder: Recorder) -> None:
        self.sent = 0
        self.answered = 0
        self.ok = 0
        self.recent_ns = np.empty(0, np.int64)
        """Latency of what was answered well in the last second."""
        self._recorder = recorder
        self._settled = 0
        """Rows before this one have an outcome, and ``_settled_ok`` of them a good one."""
        self._settled_ok = 0
        self._history: deque[tuple[int, int]] = deque()
        """Times of looks and the settled rows then: before those nothing was answered since."""

    def look(self, now_ns: int) -> None:
        samples = self._recorder.samples()
        first = self._settled
        due = int(np.searchsorted(samples.intended_ns, now_ns, side="right"))
        done = samples.done_ns[first:due] > 0
        good = done & (samples.outcome[first:due] == Outcome.OK)
        self.answered = first + int(np.count_nonzero(done))
        self.ok = self._settled_ok + int(np.count_nonzero(good))
        self.sent = first + int(np.count_nonzero(done | (samples.sent_ns[first:due] > 0)))
        self._settle(first, done, good)
        self._history.append((now_ns, first))
        while len(self._history) > 1 and self._history[1][0] <= now_ns - _RECENT_NS:
            self._history.popleft()
        recent = samples.where(slice(self._history[0][1], due))
        # A row may be answered while we look.
        lately = (recent.done_ns > now_ns - _RECENT_NS) & (recent.outcome == Outcome.OK)
        self.recent_ns = recent.latency_ns[lately]

    def _settle(self, first: int, done: NDArray[np.bool_], good: NDArray[np.bool_]) -> None:
        settled = len(done) if done.all() else int(np.argmin(done))
        self._settled = first + settled
        self._settled_ok += int(np.count_nonzero(good[:settled]))


def _quantiles(latency_ns: NDArray[np.int64]) -> tuple[int | None, int | None]:
    if not len(latency_ns):
        return None, None
    p50, p99 = np.quantile(latency_ns, (0.5, 0.99)).tolist()
    return round(p50), round(p99)
