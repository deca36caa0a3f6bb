"""After the last request: check the kept answers, mark the wrong ones, sum up."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.clock import now_ns
from loadgen.job import Job, JobResult, Pacing
from loadgen.pool import Pool
from loadgen.protocols.base import Tensors
from loadgen.recorder import Phase, Recorder
from loadgen.schedule import Ending
from loadgen.verify import Keeper, wrong_rows
from nightbench.samples import Outcome

__all__ = ["Stopwatch", "conclude"]


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """What the run itself cost, by the engine's clocks."""

    started_ns: int
    ended_ns: int
    cpu_ns: int
    spun_ns: int = 0

    @classmethod
    def start(cls, started_ns: int) -> "Stopwatch":
        """Begin now; ``started_ns`` may lie a little ahead."""
        return cls(started_ns, now_ns(), time.process_time_ns())

    def stop(self, spun_ns: int = 0) -> "Stopwatch":
        """End now. ``spun_ns`` of the processor time were spent on waiting, which is no cost of any request."""
        cpu_ns = time.process_time_ns() - self.cpu_ns - spun_ns
        return Stopwatch(self.started_ns, now_ns(), max(0, cpu_ns), spun_ns)


def conclude(
    job: Job,
    recorder: Recorder,
    keeper: Keeper,
    decode: Callable[[Any], Tensors],
    pool: Pool,
    starts: Sequence[int],
    watch: Stopwatch,
    ending: Ending,
    detail: str,
    pacing: Pacing | None = None,
    hiccups_ns: Mapping[str, int] | None = None,
) -> JobResult:
    """Give every row its outcome, WRONG_OUTPUT to those whose kept answers are wrong, and count what happened."""
    recorder.phase = Phase.OVER
    samples = recorder.settle(watch.ended_ns)
    wrong = wrong_rows(keeper.kept, decode, pool, starts, job.batch, job.tolerance)
    for row, _ in wrong:
        samples.outcome[row] = Outcome.WRONG_OUTPUT
    return JobResult(
        requests=len(samples),
        started_ns=watch.started_ns,
        ended_ns=watch.ended_ns,
        client_cpu_ns=watch.cpu_ns,
        verified=len(keeper.kept),
        wrong=len(wrong),
        outcomes=samples.counts(),
        detail=f"{Outcome.WRONG_OUTPUT.label}: {wrong[0][1]}" if wrong else detail,
        spin_ns=watch.spun_ns,
        sending_ended_ns=ending.at_ns,
        ended_by=ending.by,
        workers_cpu_ns=(watch.cpu_ns,),
        pacing=pacing,
        hiccups_ns=hiccups_ns or {},
        connections_short=recorder.connections_short,
    )
