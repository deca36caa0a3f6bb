"""What a server delivered a second: from when until when answers can be counted, and where that is too short."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.doubts import of_successful
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.load import ClosedLoop, Step
from nightbench.samples import Samples
from nightbench.stats.rates import throughput

__all__ = ["Delivery", "delivery"]

_LATE = 0.99
"""Of the answers: after so many latencies from the first request, answers come at the rate that they will."""
_EBB = 2.0
"""Median latencies after the last request in which its round is over, but for stragglers."""


@dataclass(frozen=True, slots=True)
class Delivery:
    rate: Estimate
    short: str = ""
    """Why the run was too short to tell, in words."""

    def doubts(self) -> Iterator[Doubt]:
        if self.short:
            yield Doubt(Reason.TOO_FEW_SAMPLES, self.short, ("throughput_rps",))


def delivery(samples: Samples, load: Step, started_ns: int, start_ns: int, end_ns: int) -> Delivery:
    """Successful answers a second, by the time they were done, in a run that sent from ``started_ns`` on.

    [start_ns, end_ns) is the measured window, by intended time. Answers are due as long after it began as requests
    take; those of requests before the window come in instead, if there were enough of them. Where the warm-up is
    shorter than the latency, the window's beginning is empty and its throughput biased low: by W / T for a window T
    and a latency W. So the count begins when answers come as they will go on coming:

    - In an open loop at p99 of the latency after the first request: answers then come at the rate that is due, or, from
      an overloaded server, at the server's. Half the window is kept at least, and the figure doubted.
    - In a closed loop of C clients with the C-th answer, when about everybody has had one. From an answer on, what is
      whole is a round of C answers: the count ends with the last of those in the window, for half a round would be
      half a server's batch. Where sending was over before one was, the next round counts, whose requests were sent
      while all clients were busy, unless it waits for stragglers. A run that is over with its first round has that
      round's rate, C answers since the beginning, without an interval and with a doubt.
    """
    if end_ns <= start_ns:
        return Delivery(Estimate(0.0))
    ok = samples.ok
    done_ns = of_successful(samples.done_ns, ok)
    if isinstance(load, ClosedLoop):
        return _of_clients(samples, done_ns, load.concurrency, started_ns, start_ns, end_ns)
    short = ""
    if len(done_ns):
        latency_ns = done_ns - of_successful(samples.intended_ns, ok)
        late_ns = int(np.quantile(latency_ns, _LATE, overwrite_input=True))
        middle_ns = (start_ns + end_ns) // 2
        if started_ns + late_ns > middle_ns:
            short = (
                f"too short for a throughput: p99 of the latency is {late_ns * 1e-9:.3g} s, and requests were sent for "
                f"{(end_ns - started_ns) * 1e-9:.3g} s"
            )
        start_ns = max(start_ns, min(started_ns + late_ns, middle_ns))
    return Delivery(throughput(done_ns, start_ns, end_ns), short)


def _of_clients(
    samples: Samples, ok_done_ns: NDArray[np.int64], clients: int, started_ns: int, start_ns: int, end_ns: int
) -> Delivery:
    if not len(samples) or np.count_nonzero(samples.done_ns <= start_ns) >= clients:
        return Delivery(throughput(ok_done_ns, start_ns, end_ns, clients=clients))
    answered_ns = np.sort(samples.done_ns)
    rounds_ns = answered_ns[clients - 1 :: clients]
    until = int(np.searchsorted(rounds_ns, end_ns, side="right"))
    if until < 2:
        ebb_ns = end_ns + round(_EBB * float(np.median(samples.service_ns)))
        until = min(2, int(np.searchsorted(rounds_ns, ebb_ns, side="right")))
    if until >= 2:
        return Delivery(throughput(ok_done_ns, int(rounds_ns[0]), int(rounds_ns[until - 1]), clients=clients))
    first_ns = int(answered_ns[min(clients, len(answered_ns)) - 1])
    answers = int(np.count_nonzero(ok_done_ns <= first_ns))
    rate = answers / (first_ns - started_ns) * 1e9 if first_ns > started_ns else 0.0
    return Delivery(
        Estimate(rate),
        f"too short for a throughput: no round of answers to all {clients} clients was over but the first",
    )
