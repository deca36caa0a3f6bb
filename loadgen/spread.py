"""One load from several machines: each sends its part of the one schedule, and what they saw is put together again.

Every machine makes the whole schedule from the same seed and sends those rows that are its own, so all of them together
send what one would have sent. A request is timed by the clock of the machine that sent it, from when it was due to its
answer: however wrong the machines' clocks are, no latency is. Only how the parts lie beside each other depends on them,
and `JobResult.wall_error_ns` says how well that is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadgen.job import Job, JobResult, Part
from loadgen.shares import check_workers, combined
from nightbench.errors import UsageError
from nightbench.samples import Marks, Samples, save_merged

__all__ = ["Sent", "parts_of", "put_together"]


@dataclass(frozen=True, slots=True)
class Sent:
    """What one machine sent."""

    result: JobResult
    samples: Samples
    marks: Marks | None = None


def parts_of(job: Job, machines: int, start_at_ns: int) -> list[Job]:
    """The job of each machine; all begin at ``start_at_ns``, Unix time.

    `UsageError` where so many cannot share it: each has ``job.workers`` processes.
    """
    if machines < 1:
        raise UsageError(f"machines: {machines} cannot send anything; give 1 or more")
    if job.precision is not None or job.max_requests is not None:
        raise UsageError("machines: a load of several machines ends by time alone; give a duration, and nothing else")
    parts = [
        replace(job, part=Part(machine, machines, start_at_ns), stop_over_saturated=False)
        for machine in range(machines)
    ]
    check_workers(parts[0])
    return parts


def put_together(sent: Sequence[Sent], samples: Path) -> JobResult:
    """One result, as if one machine had sent all; its rows are written to ``samples``.

    The parts' times are those of their own clocks; all are moved to the first one's, by what each has as the start. The
    first part that failed is the result, if one did. ``wall_error_ns`` is what the two worst clocks may be apart.
    """
    for each in sent:
        if each.result.error is not None:
            return each.result
    zero_ns = sent[0].result.started_ns
    moved = [_moved(each, zero_ns - each.result.started_ns) for each in sent]
    save_merged(samples, [each.samples for each in moved], [each.marks for each in moved])
    result = combined([each.result for each in moved])
    errors = sorted((each.result.wall_error_ns for each in sent if each.result.wall_error_ns is not None), reverse=True)
    return replace(result, wall_error_ns=sum(errors[:2]) if len(errors) == len(sent) else None)


def _moved(sent: Sent, by_ns: int) -> Sent:
    result, samples, marks = sent.result, sent.samples, sent.marks
    never = samples.sent_ns == 0
    first_byte_ns, sent_ns = samples.first_byte_ns + by_ns, samples.sent_ns + by_ns
    # A request that was never sent has no such times.
    first_byte_ns[samples.first_byte_ns == 0] = 0
    sent_ns[never] = 0
    return Sent(
        replace(
            result,
            started_ns=result.started_ns + by_ns,
            ended_ns=result.ended_ns + by_ns,
            sending_ended_ns=result.sending_ended_ns + by_ns,
        ),
        replace(
            samples,
            intended_ns=samples.intended_ns + by_ns,
            sent_ns=sent_ns,
            first_byte_ns=first_byte_ns,
            done_ns=samples.done_ns + by_ns,
        ),
        None if marks is None else replace(marks, at_ns=marks.at_ns + by_ns),
    )
