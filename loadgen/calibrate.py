"""What the client itself can do with one kind of request: the load engine against a server that does nothing.

The engine is an instrument. Its ceiling says from which throughput on it measures itself, its floor what part of a
latency is its own and the loopback's, and both, repeated, whether the machine stayed as fast as it was.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from loadgen.job import Job, JobResult
from loadgen.null.replies import ready_answer
from loadgen.null.running import null_server
from loadgen.pool import Pool
from loadgen.protocols import codec_for
from loadgen.run import run_job
from nightbench.errors import NightbenchError
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop
from nightbench.model import TensorSpec, Tolerance
from nightbench.samples import Samples
from nightbench.server import Endpoint, OptionValue, Protocol
from nightbench.stats.quantiles import NotEnough, quantiles
from nightbench.stats.rates import throughput
from nightbench.stopping import never

__all__ = ["CEILING_CONCURRENCY", "Calibration", "Kind", "calibrate"]

CEILING_CONCURRENCY = 16
_WARMUP_S = 0.1
"""Connections are made and every head is learnt within the first milliseconds of it."""
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_NOTHING_COMPARED = Tolerance(0.0, 0.0)
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request, as `loadgen.job.Job` knows it; a night has a handful of them."""

    protocol: Protocol
    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    """Empty where no answer is known beforehand: the null server's then holds no tensor."""
    batch: int
    pool: Path
    path: str = ""
    """As in `nightbench.server.Endpoint`, and so are ``headers`` and ``options``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    tokens: int = 64
    """OpenAI only: how many an answer streams."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The client's own figures for one kind of request."""

    ceiling_rps: Estimate
    """Throughput at concurrency `CEILING_CONCURRENCY`."""
    floor_ns: Mapping[str, Estimate]
    """Service time at concurrency 1: quantiles ``p50 p90 p95 p99``, as far as the samples carry them."""
    client_cpu_ns_per_request: float
    """At the ceiling, over all workers."""
    server_cpu_ns_per_request: float
    """The null server's own, likewise."""
    request_bytes: int
    """The first request of the pool as it is sent, HTTP/2's framing left out; ``response_bytes`` likewise."""
    response_bytes: int
    ceiling_by: Literal["client", "server"]
    """Which of the two was busier, by its busiest process. Only "client" means the client's own ceiling; "server"
    means that the client may reach more."""


def calibrate(
    kind: Kind,
    *,
    client_cpus: tuple[int, ...] | None,
    server_cpus: tuple[int, ...] | None,
    seconds: float = 0.5,
    workers: int = 1,
    should_stop: Callable[[], bool] = never,
    env: Mapping[str, str] | None = None,
    workdir_root: Path | None = None,
) -> Calibration:
    """Measure the engine against a null server for ``seconds`` at the ceiling, and as long at the floor.

    The engine runs as in any cell, with ``workers`` processes at the ceiling and one at the floor. The null server
    is one process whatever they are. Answers are the pool's reference outputs for its first items and are not
    compared, since they do not follow what is asked.

    Raises:
        NightbenchError: the kind has no wire, being in-process, or something went wrong, in words.
        Stopped: ``should_stop`` turned true.
    """
    pool = Pool.read(kind.pool, kind.inputs, kind.outputs)
    answer = ready_answer(kind.protocol, pool.expected(0, kind.batch), kind.outputs, kind.tokens)
    with (
        tempfile.TemporaryDirectory(prefix="nightbench-calibrate-", dir=workdir_root) as name,
        null_server(answer, Path(name), server_cpus, env) as server,
    ):

        def run(concurrency: int, processes: int) -> "_Run":
            job = _job(kind, server.port, concurrency, processes, client_cpus, seconds, Path(name) / "samples.npz")
            before_ns = server.cpu_ns()
            result = _succeeded(run_job(job, should_stop, env, workdir_root=workdir_root))
            spent_ns = server.cpu_ns() - before_ns
            rate, service = _measured(Samples.load(job.samples), result, job.duration_s, concurrency)
            return _Run(result, spent_ns, rate, service)

        ceiling = run(CEILING_CONCURRENCY, workers)
        floor = run(1, 1)
        request_bytes = _request_bytes(kind, pool, server.port)
    return Calibration(
        ceiling_rps=ceiling.throughput_rps,
        floor_ns=floor.service_ns,
        client_cpu_ns_per_request=ceiling.result.client_cpu_ns / ceiling.result.requests,
        server_cpu_ns_per_request=ceiling.server_cpu_ns / ceiling.result.requests,
        request_bytes=request_bytes,
        response_bytes=sum(map(len, answer.pieces)),
        ceiling_by="client" if ceiling.busiest_worker_ns >= ceiling.server_cpu_ns else "server",
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One of the two."""

    result: JobResult
    server_cpu_ns: int
    throughput_rps: Estimate
    service_ns: Mapping[str, Estimate]

    @property
    def busiest_worker_ns(self) -> int:
        return max(self.result.workers_cpu_ns, default=self.result.client_cpu_ns)


def _job(
    kind: Kind,
    port: int,
    concurrency: int,
    workers: int,
    cpus: tuple[int, ...] | None,
    seconds: float,
    samples: Path,
) -> Job:
    return Job(
        endpoint=_endpoint(kind, port),
        load=ClosedLoop(concurrency),
        batch=kind.batch,
        inputs=kind.inputs,
        outputs=kind.outputs,
        pool=kind.pool,
        tolerance=_NOTHING_COMPARED,
        duration_s=_WARMUP_S + seconds,
        samples=samples,
        verify_every=0,
        cpus=cpus,
        workers=workers,
    )


def _endpoint(kind: Kind, port: int) -> Endpoint:
    return Endpoint(
        kind.protocol,
        "127.0.0.1",
        port,
        kind.model,
        path=kind.path,
        headers=kind.headers,
        options=kind.options,
    )


def _succeeded(result: JobResult) -> JobResult:
    """`NightbenchError` unless every request did."""
    if result.error is not None:
        raise NightbenchError(f"calibration: {result.error}")
    if set(result.outcomes) != {"ok"}:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(result.outcomes.items())) or "no request at all"
        raise NightbenchError(f"calibration: the null server's answers were {counts}: {result.detail}")
    return result


def _measured(
    samples: Samples, result: JobResult, duration_s: float, clients: int
) -> tuple[Estimate, dict[str, Estimate]]:
    """Throughput, and quantiles of the service time, of what was sent after the warm-up."""
    start_ns = result.started_ns + round(_WARMUP_S * _NS_PER_S)
    end_ns = min(result.started_ns + round(duration_s * _NS_PER_S), result.ended_ns)
    found = quantiles(samples.between(start_ns, end_ns).service_ns, _QUANTILES.values())
    known: dict[str, Estimate] = {}
    for name, q in _QUANTILES.items():
        answer = found[q]
        if not isinstance(answer, NotEnough):
            known[name] = answer
        elif answer.seen is not None:
            known[name] = Estimate(answer.seen)
    return throughput(samples.done_ns, start_ns, end_ns, clients=clients), known


def _request_bytes(kind: Kind, pool: Pool, port: int) -> int:
    codec = codec_for(_endpoint(kind, port), kind.inputs, kind.outputs, kind.batch)
    try:
        request = codec.prepare(pool.request(0, kind.batch))
        return len(request if isinstance(request, bytes) else request.message)
    finally:
        codec.close()
