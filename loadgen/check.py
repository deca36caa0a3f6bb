"""What a job may ask for. Plans are written by hand."""

import math
from collections.abc import Iterator

from loadgen.job import Job
from loadgen.shares import check_workers
from nightbench.errors import UsageError
from nightbench.load import ClosedLoop
from nightbench.server import Protocol

__all__ = ["check_job"]

_MOST_PORT = 65_535


def check_job(job: Job) -> None:
    """`UsageError` naming a field of ``job`` whose value nothing can be measured with."""
    for field, value, fits, wanted in _rules(job):
        if not fits:
            raise UsageError(f"{field}: {value} is wrong; it should be {wanted}")
    check_workers(job)


def _rules(job: Job) -> Iterator[tuple[str, object, bool, str]]:
    """Field, value, whether it will do, and what would."""
    endpoint, load = job.endpoint, job.load
    if endpoint.protocol is Protocol.IN_PROCESS:
        yield "endpoint.threads", endpoint.threads, endpoint.threads >= 1, "1 or more"
    else:
        yield "endpoint.port", endpoint.port, 1 <= endpoint.port <= _MOST_PORT, f"from 1 to {_MOST_PORT}"
    if isinstance(load, ClosedLoop):
        yield "load.concurrency", load.concurrency, load.concurrency >= 1, "1 or more"
    else:
        yield "load.rate_rps", load.rate_rps, *_positive(load.rate_rps)
        if load.burstiness is not None:
            yield "load.burstiness", load.burstiness, *_positive(load.burstiness)
    yield "batch", job.batch, job.batch >= 1, "1 or more"
    yield "duration_s", job.duration_s, *_positive(job.duration_s)
    yield "timeout_s", job.timeout_s, *_positive(job.timeout_s)
    yield "min_warmup_s", job.min_warmup_s, 0.0 <= job.min_warmup_s < math.inf, "a number of 0 or more"
    yield "seed", job.seed, job.seed >= 0, "0 or more"
    yield "verify_every", job.verify_every, job.verify_every >= 0, "0 or more"
    if job.max_requests is not None:
        yield "max_requests", job.max_requests, job.max_requests >= 1, "1 or more"
    if job.cpus is not None:
        yield "cpus", list(job.cpus), bool(job.cpus), "at least one processor"
    if job.part is not None:
        part = job.part
        yield "part.machines", part.machines, part.machines >= 1, "1 or more"
        yield "part.machine", part.machine, 0 <= part.machine < part.machines, f"from 0 to {part.machines - 1}"
        # No machine sees enough of the whole to end it.
        yield "precision", job.precision, job.precision is None, "left out: a load of several machines ends by time"
        yield "max_requests", job.max_requests, job.max_requests is None, "left out, for the same reason"
        yield "stop_over_saturated", job.stop_over_saturated, not job.stop_over_saturated, "false, for the same reason"
    if job.precision is not None:
        for name, width in (("p50", job.precision.p50), ("p99", job.precision.p99)):
            if width is not None:
                yield f"precision.{name}", width, *_positive(width)


def _positive(value: float) -> tuple[bool, str]:
    # NaN is neither.
    return 0.0 < value < math.inf, "a number greater than 0"
