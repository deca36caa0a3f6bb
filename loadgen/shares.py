"""One job over several engine processes: each one's part, and what their results say together. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from loadgen.job import Job, JobResult
from loadgen.pacing import chosen_pacing
from nightbench.errors import UsageError
from nightbench.load import ClosedLoop, EndedBy
from nightbench.server import Protocol

__all__ = ["check_workers", "combined", "dealt", "shares_of", "split"]

_TELLING = (EndedBy.ROWS, EndedBy.OVER_SATURATED, EndedBy.PRECISION, EndedBy.DURATION, EndedBy.REQUESTS)
"""The first of these that ended a share, where several shares ended at one time."""


def shares_of(job: Job) -> tuple[int, int]:
    """The first share of the load that is this job's, of how many; it has ``job.workers`` from there on."""
    if job.part is None:
        return 0, job.workers
    return job.part.machine * job.workers, job.part.machines * job.workers


def check_workers(job: Job) -> None:
    """`UsageError` if ``job`` cannot be shared by so many."""
    if job.workers < 1:
        raise UsageError(f"workers: {job.workers} processes cannot send anything; give at least 1")
    if job.workers > 1 and job.endpoint.protocol is Protocol.IN_PROCESS:
        raise UsageError(f"workers: an in-process model lives in one process, which {job.workers} cannot share; give 1")
    _, shares = shares_of(job)
    if isinstance(job.load, ClosedLoop) and shares > job.load.concurrency:
        raise UsageError(
            f"workers: {shares} processes cannot share a concurrency of {job.load.concurrency}; "
            f"give at most {job.load.concurrency}"
        )


def split(job: Job, scheduled: Sequence[int]) -> list[Job]:
    """The job of each worker. ``scheduled`` says how many rows of an open loop were dealt to each.

    Concurrency and a closed loop's ``max_requests`` are shared as evenly as whole numbers allow. Each worker has a
    processor of its own, as long as there are enough.
    """
    pacing = chosen_pacing(job)
    first, shares = shares_of(job)
    parts = []
    for share in range(job.workers):
        load, most = job.load, job.max_requests
        if isinstance(load, ClosedLoop):
            load = ClosedLoop(_part(load.concurrency, first + share, shares))
            most = None if most is None else _part(most, first + share, shares)
        else:
            most = scheduled[share] if sum(scheduled) == most else None
        cpus = job.cpus if job.cpus is None or job.workers == 1 else (job.cpus[share % len(job.cpus)],)
        parts.append(replace(job, load=load, max_requests=most, cpus=cpus, workers=1, pacing=pacing))
    return parts


def dealt(rotation: Sequence[int], share: int, shares: int) -> list[int]:
    """What ``share`` goes through in turn when row ``r`` of it is row ``r * shares + share`` of the whole."""
    count = len(rotation)
    return [rotation[(turn * shares + share) % count] for turn in range(count // gcd(count, shares))]


def combined(results: Sequence[JobResult]) -> JobResult:
    """One result of all shares; the first failed one if there is any.

    The sending of the whole ended with that of the first share: until then all of them sent.
    """
    for result in results:
        if result.error is not None:
            return result
    if len(results) == 1:
        return results[0]
    sent = [result for result in results if result.requests] or results
    first = min(sent, key=lambda result: (result.sending_ended_ns, _TELLING.index(result.ended_by)))
    outcomes: dict[str, int] = {}
    hiccups_ns: dict[str, int] = {}
    for result in results:
        for label, count in result.outcomes.items():
            outcomes[label] = outcomes.get(label, 0) + count
        for name, delay_ns in result.hiccups_ns.items():
            hiccups_ns[name] = max(hiccups_ns.get(name, 0), delay_ns)
    return JobResult(
        requests=sum(result.requests for result in results),
        started_ns=min(result.started_ns for result in results),
        ended_ns=max(result.ended_ns for result in results),
        client_cpu_ns=sum(result.client_cpu_ns for result in results),
        verified=sum(result.verified for result in results),
        wrong=sum(result.wrong for result in results),
        outcomes=outcomes,
        detail=next((result.detail for result in results if result.detail), ""),
        spin_ns=sum(result.spin_ns for result in results),
        ended_by=first.ended_by,
        sending_ended_ns=first.sending_ended_ns,
        workers_cpu_ns=tuple(cpu_ns for result in results for cpu_ns in result.workers_cpu_ns),
        pacing=results[0].pacing,
        hiccups_ns=hiccups_ns,
        connections_short=any(result.connections_short for result in results),
    )


def _part(whole: int, share: int, shares: int) -> int:
    return whole // shares + (share < whole % shares)
