"""One load on a server that somebody else started: what `nightbench sweep` does, for any caller.

There is no suite and no model here, so no answer is compared with a reference. What only a night can know, who else
used the machine, is not known here and therefore never claimed.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from loadgen.cache_audit import CacheAudit
from loadgen.calibrate import Calibration, Kind, calibrate
from loadgen.job import Job, JobResult, Pacing
from loadgen.payload import Payload
from loadgen.prompts import asked_tokens
from loadgen.run import Glimpse, run_job
from loadgen.seek import seek
from loadgen.trace import read_trace
from nightbench.assess import Assessed, assess
from nightbench.errors import NightbenchError, UsageError
from nightbench.figures import Doubt, Estimate, SearchFigures, SearchStep, StreamFigures
from nightbench.load import OpenLoop, Precision, Search, Step, sharing
from nightbench.model import Tolerance
from nightbench.samples import Marks, Samples
from nightbench.search import search_open
from nightbench.server import Endpoint
from nightbench.stats.quantiles import NotEnough, quantile
from nightbench.stopping import never
from nightbench.streaming import stream_figures
from nightbench.witness import Witness

__all__ = ["Send", "Sweep", "Swept", "calibrated", "run_sweep"]

_NS_PER_S = 1e9
_LONGEST_S = 3600.0
"""Sending ends here where only a number of requests was asked for."""
_MOST_REQUESTS = 50_000_000
"""Of an open loop: its rows are made before it starts, about 50 bytes each."""
_UNUSED = Tolerance(0.0, 0.0)
"""Nothing is compared: there is no reference."""


class Send(Protocol):
    """Carries out a job, as `loadgen.run.run_job` does."""

    def __call__(
        self,
        job: Job,
        should_stop: Callable[[], bool] = ...,
        *,
        on_start: Callable[[int], None] = ...,
        workdir_root: Path | None = ...,
        watch: Callable[[Glimpse], None] | None = ...,
    ) -> JobResult: ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to send, where, how fast and for how long."""

    protocol: str
    """By the user's name for it: given bytes travel otherwise than tensors."""
    endpoint: Endpoint
    payload: Payload
    load: Step | Search
    duration_s: float | None
    """After the warm-up; ``None`` ends with ``max_requests`` alone. Of each step of a search."""
    max_requests: int | None
    """Warm-up included; ``None`` ends with ``duration_s`` alone."""
    warmup_s: float
    timeout_s: float
    seed: int = 0
    pacing: Pacing = Pacing.SLEEP
    workers: int = 1
    precision: Precision | None = None
    """Ends earlier, when figures are known this well."""
    slo: Mapping[str, float] = field(default_factory=dict)
    """Of streamed answers: ``ttft_ms`` and ``itl_ms`` that goodput keeps."""

    def sending_s(self, load: Step) -> float:
        """The longest time for which requests are sent."""
        if self.duration_s is not None:
            return self.warmup_s + self.duration_s
        if self.max_requests is None:
            raise UsageError("sweep: nothing says when to end; add --duration or --requests")
        if isinstance(load, OpenLoop):
            return (self.max_requests + _more(load, self.max_requests)) / load.rate_rps
        return _LONGEST_S

    def check(self) -> None:
        """`UsageError` for an open loop of more requests than memory is kept for."""
        if not isinstance(self.load, OpenLoop):
            return
        due = min(self.sending_s(self.load) * self.load.rate_rps, self.max_requests or math.inf)
        if due > _MOST_REQUESTS:
            raise UsageError(
                f"--open: {due:.3g} requests would be due, more than {_MOST_REQUESTS}; lower the rate or the duration"
            )


@dataclass(frozen=True, slots=True)
class Swept:
    """How it went: what the engine says, and what can be said of it. Of a search, the step that is its answer."""

    sweep: Sweep
    load: Step
    """What was sent: the sweep's own load, or the step that a search chose."""
    started_at: datetime
    result: JobResult
    assessed: Assessed
    latency_ns: Mapping[str, Estimate]
    """Of the successful requests of the measured window, ``p50 p90 p95 p99 p999``; without those it cannot carry."""
    service_ns: Mapping[str, Estimate]
    doubts: tuple[Doubt, ...]
    """All there are: those of ``assessed``, and of streams and searches."""
    stream: StreamFigures | None = None
    search: SearchFigures | None = None
    calibration: Calibration | None = None
    """What the client itself can do, if anybody looked."""
    audit: CacheAudit | None = None

    @property
    def ok(self) -> int:
        """Successful requests of the measured window."""
        return self.assessed.counts.get("ok", 0)

    @property
    def failed(self) -> int:
        return sum(self.assessed.counts.values()) - self.ok

    @property
    def lag_ns(self) -> Mapping[str, float]:
        """How late requests were sent, ``p50 p99 p999``; empty for a closed loop, which has no times to be late for."""
        return self.assessed.lag_ns if isinstance(self.load, OpenLoop) else {}

    @property
    def nothing_succeeded(self) -> bool:
        """Not even while warming up."""
        return not self.result.outcomes.get("ok")


def run_sweep(
    sweep: Sweep,
    should_stop: Callable[[], bool] = never,
    on_start: Callable[[int], None] = lambda _: None,
    watch: Callable[[Glimpse], None] | None = None,
    on_step: Callable[["Swept"], None] = lambda _: None,
    calibration: Calibration | None = None,
    send: Send = run_job,
) -> Swept:
    """Send the load from processes of its own, each told to ``on_start``, and take its figures.

    ``watch`` is shown how it goes, some times a second, and ``on_step`` each step of a search. ``calibration`` says
    what the client itself can do with such requests: a throughput too near to that is doubted. ``send`` carries out a
    job; other machines may take part in that.

    Raises:
        UsageError: more is asked for than can be held.
        Stopped: ``should_stop`` turned true.
        NightbenchError: the engine could not measure; a server that fails is a result instead.
    """
    sweep.check()

    def attempt(load: Step) -> Swept:
        swept = _attempt(sweep, load, calibration, should_stop, on_start, watch, send)
        on_step(swept)
        return swept

    if not isinstance(sweep.load, Search):
        return _attempt(sweep, sweep.load, calibration, should_stop, on_start, watch, send)
    sought = seek(sweep.load, attempt, _told)
    doubts = (*sought.chosen.doubts, *search_open(sought.figures))
    return replace(sought.chosen, search=sought.figures, doubts=doubts)


def calibrated(sweep: Sweep, should_stop: Callable[[], bool] = never) -> Calibration | None:
    """What the client itself can do with requests like these; ``None`` where the protocol has no null server.

    Raises:
        Stopped: ``should_stop`` turned true.
    """
    endpoint, payload = sweep.endpoint, sweep.payload
    with tempfile.TemporaryDirectory(prefix="nightbench-sweep-") as folder:
        pool = Path(folder) / "pool.npz"
        payload.save(pool)
        kind = Kind(
            endpoint.protocol,
            endpoint.model,
            payload.specs,
            (),
            payload.batch,
            pool,
            path=endpoint.path,
            headers=endpoint.headers,
            tokens=asked_tokens(payload),
        )
        try:
            return calibrate(
                kind,
                client_cpus=None,
                server_cpus=None,
                workers=sweep.workers,
                should_stop=should_stop,
                workdir_root=Path(folder),
            )
        except NightbenchError:
            return None


def _attempt(
    sweep: Sweep,
    load: Step,
    calibration: Calibration | None,
    should_stop: Callable[[], bool],
    on_start: Callable[[int], None],
    watch: Callable[[Glimpse], None] | None,
    send: Send,
) -> Swept:
    started_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="nightbench-sweep-") as folder:
        job = _job(sweep, load, Path(folder))
        sweep.payload.save(job.pool)
        result = send(job, should_stop, on_start=on_start, workdir_root=Path(folder), watch=watch)
        if result.error is not None:
            raise NightbenchError(f"the load could not be sent: {result.error}")
        samples, marks = Samples.load(job.samples), Marks.load(job.samples)
    assessed = assess(
        samples,
        load,
        started_ns=result.started_ns,
        ended_ns=result.ended_ns,
        min_warmup_ns=int(sweep.warmup_s * _NS_PER_S),
        client_cpu_ns=result.client_cpu_ns,
        verified=0,
        wrong=0,
        duration_s=job.duration_s,
        server_died=False,
        ended_by=result.ended_by,
        workers_cpu_ns=result.workers_cpu_ns,
        sending_ended_ns=result.sending_ended_ns,
        connections_short=result.connections_short,
        seen=_witness(calibration),
    )
    start_ns = result.started_ns + assessed.warmup_ns
    end_ns = start_ns + assessed.measured_ns
    due = samples.between(start_ns, end_ns)
    good = due.where(due.ok)
    stream, doubts = (None, ()) if marks is None else stream_figures(samples, marks, start_ns, end_ns, sweep.slo)
    return Swept(
        sweep=sweep,
        load=load,
        started_at=started_at,
        result=result,
        assessed=assessed,
        latency_ns={**assessed.latency_ns, **_far_tail(good.latency_ns)},
        service_ns={**assessed.service_ns, **_far_tail(good.service_ns)},
        doubts=(*assessed.doubts, *doubts),
        stream=stream,
        calibration=calibration,
    )


def _job(sweep: Sweep, load: Step, folder: Path) -> Job:
    return Job(
        endpoint=sweep.endpoint,
        load=load,
        batch=sweep.payload.batch,
        inputs=sweep.payload.specs,
        outputs=(),
        pool=folder / "pool.npz",
        tolerance=_UNUSED,
        duration_s=sweep.sending_s(load),
        samples=folder / "samples.npz",
        seed=sweep.seed,
        timeout_s=sweep.timeout_s,
        verify_every=0,
        max_requests=sweep.max_requests,
        workers=sharing(load, sweep.workers),
        precision=sweep.precision,
        min_warmup_s=sweep.warmup_s,
        pacing=sweep.pacing,
    )


def _witness(calibration: Calibration | None) -> Witness:
    if calibration is None:
        return Witness()
    return Witness(ceiling_rps=calibration.ceiling_rps.value, ceiling_by=calibration.ceiling_by)


def _told(swept: Swept) -> SearchStep:
    return SearchStep(
        load=swept.load,
        throughput_rps=swept.assessed.throughput_rps,
        latency_ns=swept.assessed.latency_ns,
        failed=swept.failed,
        ended_by=swept.result.ended_by,
        doubts=swept.doubts,
    )


def _more(load: OpenLoop, requests: int) -> float:
    """By how many more than ``requests`` the time must be long enough, so that chance does not make them fewer."""
    if load.trace is not None:
        # One cycle, which may end with a long silence.
        return float(len(read_trace(load.trace)))
    # Six standard deviations of the number of arrivals.
    return 6.0 * math.sqrt(requests / min(1.0, load.burstiness or 1.0)) + 6.0


def _far_tail(values_ns: Any) -> dict[str, Estimate]:
    """p99.9, where there are enough samples; nights are too short to promise it."""
    answer = quantile(values_ns, 0.999)
    if isinstance(answer, NotEnough):
        return {} if answer.seen is None else {"p999": Estimate(answer.seen)}
    return {"p999": answer}
