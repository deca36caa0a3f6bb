"""One cell over the wire: prepare everything, be quiet, measure, conclude."""

from loadgen.clock import quiet
from loadgen.conclude import Stopwatch, conclude
from loadgen.connection import resolve
from loadgen.job import Job, JobResult
from loadgen.loops import run_closed, run_open
from loadgen.pacing import pacer_for
from loadgen.pool import Pool, rotation
from loadgen.protocols import codec_for
from loadgen.schedule import plan
from loadgen.traffic import Traffic
from loadgen.verify import Keeper
from nightbench.errors import NightbenchError
from nightbench.load import ClosedLoop
from nightbench.server import Protocol

__all__ = ["run"]

_MAX_CONNECTIONS = 512
"""Of an open loop. More would find the server's own limits rather than its latency."""


def run(job: Job) -> JobResult:
    """Measure ``job`` in this process; `NightbenchError` if it cannot even begin."""
    if job.endpoint.protocol is Protocol.IN_PROCESS:
        from loadgen.in_process import run_in_process

        return run_in_process(job)
    return _run_over_wire(job)


def _run_over_wire(job: Job) -> JobResult:
    pool = Pool.read(job.pool, job.inputs, job.outputs)
    codec = codec_for(job.endpoint, job.inputs, job.outputs, job.batch)
    starts = rotation(pool, job.inputs, job.batch, job.seed)
    requests = [codec.prepare(pool.request(start, job.batch)) for start in starts]
    try:
        address = resolve(job.endpoint.host, job.endpoint.port)
    except OSError as error:
        raise NightbenchError(
            f"host {job.endpoint.host!r}: {error.strerror}; give an address of this machine"
        ) from error
    keeper = Keeper(job.verify_every)
    closed = job.load.concurrency if isinstance(job.load, ClosedLoop) else None
    with quiet():
        window, recorder = plan(job)
        traffic = Traffic(
            address, codec, requests, recorder, keeper, closed or _MAX_CONNECTIONS, int(job.timeout_s * 1e9)
        )
        try:
            pacer = pacer_for(job, traffic.poller)
            watch = Stopwatch.start(window.start_ns)
            if closed is not None:
                run_closed(traffic, recorder, closed, window, job.max_requests)
            else:
                run_open(traffic, recorder, window, pacer)
            watch = watch.stop(pacer.spun_ns)
        finally:
            traffic.close()
    return conclude(job, recorder, keeper, codec.decode, pool, starts, watch, traffic.detail, pacer.hiccups_ns())
