"""One cell over the wire: prepare everything, be quiet, measure, conclude."""

import resource

from loadgen.check import check_job
from loadgen.clock import quiet
from loadgen.conclude import Stopwatch, conclude
from loadgen.connection import Address, resolve
from loadgen.job import Job, JobResult
from loadgen.loops import run_closed, run_open
from loadgen.pacing import chosen_pacing, pacer_for
from loadgen.pool import Pool, rotation
from loadgen.protocols import codec_for
from loadgen.protocols.base import Codec
from loadgen.recorder import Recorder
from loadgen.schedule import begin, ending, reserve
from loadgen.shares import dealt
from loadgen.streaming import StreamingTraffic
from loadgen.traffic import Traffic
from loadgen.verify import Keeper
from nightbench.errors import NightbenchError
from nightbench.load import ClosedLoop
from nightbench.server import Protocol

__all__ = ["measure", "run"]

_MAX_CONNECTIONS = 16_384
"""Of an open loop, in all shares: well within the 28,000 ports that Linux has by default for one address."""
_OTHER_FILES = 64
"""What this process has open beside its connections, generously."""


def run(job: Job) -> JobResult:
    """Measure ``job`` in this process and save its samples; `NightbenchError` if it cannot even begin.

    There is nobody to look meanwhile: no stop but the job's own ends it, and one process is all there is.
    """
    check_job(job)
    if job.workers != 1:
        raise NightbenchError(f"workers: {job.workers} processes need a caller to start them; use loadgen.run.run_job")
    (recorder,) = reserve(job)
    recorder.close()
    result = measure(job, recorder)
    recorder.samples().save(job.samples, recorder.marks())
    return result


def measure(job: Job, recorder: Recorder) -> JobResult:
    """Measure ``job``, one share of a whole as its ``recorder`` may say, and leave the outcomes there.

    `NightbenchError` if it cannot even begin.
    """
    if job.endpoint.protocol is Protocol.IN_PROCESS:
        from loadgen.in_process import measure_in_process

        return measure_in_process(job, recorder)
    pool = Pool.read(job.pool, job.inputs, job.outputs)
    try:
        address = resolve(job.endpoint.host, job.endpoint.port)
    except OSError as error:
        raise NightbenchError(
            f"host {job.endpoint.host!r}: {error.strerror}; give an address of this machine"
        ) from error
    codec = codec_for(job.endpoint, job.inputs, job.outputs, job.batch)
    try:
        return _measure(job, recorder, pool, address, codec)
    finally:
        codec.close()


def _measure(job: Job, recorder: Recorder, pool: Pool, address: Address, codec: Codec) -> JobResult:
    starts = dealt(rotation(pool, job.inputs, job.batch, job.seed), recorder.share, recorder.shares)
    requests = [codec.prepare(pool.request(start, job.batch)) for start in starts]
    keeper = Keeper.of(job)
    closed = job.load.concurrency if isinstance(job.load, ClosedLoop) else None
    kind = StreamingTraffic if codec.streaming else Traffic
    connections = _connections(closed or max(1, _MAX_CONNECTIONS // recorder.shares))
    if closed is not None and connections < closed:
        raise NightbenchError(
            f"concurrency: {closed} connections in one process are more than its limit of open files leaves, "
            f"{connections}; raise the limit (ulimit -n), or give more workers"
        )
    with quiet():
        window = begin(job, recorder)
        traffic = kind(address, codec, requests, recorder, keeper, connections, int(job.timeout_s * 1e9))
        try:
            pacer = pacer_for(job, traffic.poller)
            watch = Stopwatch.start(window.start_ns)
            if closed is not None:
                window = run_closed(traffic, recorder, closed, window, job.max_requests)
            else:
                window = run_open(traffic, recorder, window, pacer)
            watch = watch.stop(pacer.spun_ns)
        finally:
            traffic.close()
    pacing = chosen_pacing(job) if closed is None else None
    how = ending(job, recorder, window)
    return conclude(
        job, recorder, keeper, codec.decode, pool, starts, watch, how, traffic.detail, pacing, pacer.hiccups_ns()
    )


def _connections(wanted: int) -> int:
    """How many of ``wanted`` this process may open; its limit of open files is raised for them as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, most = (wanted + _OTHER_FILES if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    files = max(soft, min(most, wanted + _OTHER_FILES))
    if files > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, min(wanted, files - _OTHER_FILES))
