"""One load on any running server: no model, no artifact and no reference needed.

The engine, the cut of the warm-up, the intervals and the doubts are those of a night. What a night knows besides,
whether the answers are right and who else used the machine, is not known here and therefore never claimed.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadgen.job import Job, JobResult, Pacing
from loadgen.payload import Payload
from loadgen.run import run_job
from nightbench.assess import LAG_QUANTILES, Assessed, assess
from nightbench.errors import NightbenchError, UsageError
from nightbench.load import Load, OpenLoop
from nightbench.model import Tolerance
from nightbench.record import Estimate
from nightbench.samples import Samples
from nightbench.server import Endpoint
from nightbench.stats.quantiles import NotEnough, quantile
from nightbench.stopping import never

__all__ = ["Sweep", "Swept", "run_sweep"]

SCHEMA_VERSION = 1
_NS_PER_S = 1e9
_NS_PER_MS = 1e6
_NS_PER_US = 1e3
_LONGEST_S = 3600.0
"""Sending ends here where only a number of requests was asked for."""
_MOST_REQUESTS = 50_000_000
"""Of an open loop: its rows are made before it starts, about 50 bytes each."""
_UNUSED = Tolerance(0.0, 0.0)
"""Nothing is compared: there is no reference."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to send, where, how fast and for how long."""

    protocol: str
    """By the user's name for it: given bytes travel otherwise than tensors."""
    endpoint: Endpoint
    payload: Payload
    load: Load
    duration_s: float | None
    """After the warm-up; ``None`` ends with ``max_requests`` alone."""
    max_requests: int | None
    """Warm-up included; ``None`` ends with ``duration_s`` alone."""
    warmup_s: float
    timeout_s: float
    seed: int = 0
    pacing: Pacing = Pacing.SLEEP

    @property
    def sending_s(self) -> float:
        """The longest time for which requests are sent."""
        if self.duration_s is not None:
            return self.warmup_s + self.duration_s
        if self.max_requests is None:
            raise UsageError("sweep: nothing says when to end; add --duration or --requests")
        if isinstance(self.load, OpenLoop):
            # Six standard deviations beyond the mean time of so many Poisson arrivals.
            return (self.max_requests + 6.0 * math.sqrt(self.max_requests) + 6.0) / self.load.rate_rps
        return _LONGEST_S

    def check(self) -> None:
        """`UsageError` for an open loop of more requests than memory is kept for."""
        if not isinstance(self.load, OpenLoop):
            return
        due = min(self.sending_s * self.load.rate_rps, self.max_requests or math.inf)
        if due > _MOST_REQUESTS:
            raise UsageError(
                f"--open: {due:.3g} requests would be due, more than {_MOST_REQUESTS}; lower the rate or the duration"
            )


@dataclass(frozen=True, slots=True)
class Swept:
    """How it went: what the engine says, and what can be said of it."""

    sweep: Sweep
    started_at: datetime
    result: JobResult
    assessed: Assessed
    latency_ns: Mapping[str, Estimate]
    """Of the successful requests of the measured window, ``p50 p90 p95 p99 p999``; without those it cannot carry."""
    service_ns: Mapping[str, Estimate]

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
        return self.assessed.lag_ns if isinstance(self.sweep.load, OpenLoop) else {}

    @property
    def nothing_succeeded(self) -> bool:
        """Not even while warming up."""
        return not self.result.outcomes.get("ok")

    def report(self) -> dict[str, Any]:
        """The figures as JSON takes them. A figure that the samples cannot carry is null, and so is a bound."""
        assessed, endpoint, load = self.assessed, self.sweep.endpoint, self.sweep.load
        cpu_ns = assessed.client_cpu_ns_per_request
        return {
            "schema_version": SCHEMA_VERSION,
            "started_at": self.started_at.isoformat(),
            "target": f"{endpoint.host}:{endpoint.port}",
            "path": endpoint.path or None,
            "protocol": self.sweep.protocol,
            "model": endpoint.model or None,
            "load": load.label,
            "request_bytes": self.sweep.payload.request_bytes,
            "seed": self.sweep.seed,
            "warmup_s": assessed.warmup_ns / _NS_PER_S,
            "measured_s": assessed.measured_ns / _NS_PER_S,
            "requests": self.result.requests,
            "throughput_rps": assessed.throughput_rps.value,
            "offered_rps": assessed.offered_rps,
            "ok": self.ok,
            "failed": self.failed,
            "outcomes": dict(assessed.counts),
            "latency_ms": _points(self.latency_ns),
            "service_ms": _points(self.service_ns),
            "send_lag_us": {name: value / _NS_PER_US for name, value in self.lag_ns.items()}
            or dict.fromkeys(LAG_QUANTILES),
            "pacing": self.sweep.pacing.value if isinstance(load, OpenLoop) else None,
            "hiccups_us": {name: value / _NS_PER_US for name, value in self.result.hiccups_ns.items()} or None,
            "client_cpu_us_per_request": None if cpu_ns is None else cpu_ns / _NS_PER_US,
            "intervals": {
                "confidence": 0.95,
                "throughput_rps": _bounds(assessed.throughput_rps, 1.0),
                "latency_ms": _all_bounds(self.latency_ns),
                "service_ms": _all_bounds(self.service_ns),
            },
            "doubts": [
                {"reason": doubt.reason.value, "detail": doubt.detail, "figures": list(doubt.figures)}
                for doubt in assessed.doubts
            ],
            "first_failure": self.result.detail or None,
        }


def run_sweep(
    sweep: Sweep, should_stop: Callable[[], bool] = never, on_start: Callable[[int], None] = lambda _: None
) -> Swept:
    """Send the load from a process of its own, told to ``on_start``, and take its figures.

    Raises:
        UsageError: more is asked for than can be held.
        Stopped: ``should_stop`` turned true.
        NightbenchError: the engine could not measure; a server that fails is a result instead.
    """
    sweep.check()
    started_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="nightbench-sweep-") as folder:
        job = _job(sweep, Path(folder))
        sweep.payload.save(job.pool)
        result = run_job(job, should_stop, on_start=on_start, workdir_root=Path(folder))
        if result.error is not None:
            raise NightbenchError(f"the load could not be sent: {result.error}")
        samples = Samples.load(job.samples)
    assessed = assess(
        samples,
        sweep.load,
        started_ns=result.started_ns,
        ended_ns=result.ended_ns,
        min_warmup_ns=int(sweep.warmup_s * _NS_PER_S),
        client_cpu_ns=result.client_cpu_ns,
        verified=0,
        wrong=0,
        duration_s=job.duration_s,
        foreign_cpu_percent=None,
        server_died=False,
    )
    start_ns = result.started_ns + assessed.warmup_ns
    due = samples.between(start_ns, start_ns + assessed.measured_ns)
    good = due.where(due.ok)
    return Swept(
        sweep=sweep,
        started_at=started_at,
        result=result,
        assessed=assessed,
        latency_ns={**assessed.latency_ns, **_far_tail(good.latency_ns)},
        service_ns={**assessed.service_ns, **_far_tail(good.service_ns)},
    )


def _job(sweep: Sweep, folder: Path) -> Job:
    return Job(
        endpoint=sweep.endpoint,
        load=sweep.load,
        batch=sweep.payload.batch,
        inputs=sweep.payload.specs,
        outputs=(),
        pool=folder / "pool.npz",
        tolerance=_UNUSED,
        duration_s=sweep.sending_s,
        samples=folder / "samples.npz",
        seed=sweep.seed,
        timeout_s=sweep.timeout_s,
        verify_every=0,
        max_requests=sweep.max_requests,
        pacing=sweep.pacing,
    )


def _far_tail(values_ns: Any) -> dict[str, Estimate]:
    """p99.9, where there are enough samples; nights are too short to promise it."""
    answer = quantile(values_ns, 0.999)
    if isinstance(answer, NotEnough):
        return {} if answer.seen is None else {"p999": Estimate(answer.seen)}
    return {"p999": answer}


_NAMES = ("p50", "p90", "p95", "p99", "p999")


def _points(found: Mapping[str, Estimate]) -> dict[str, float | None]:
    return {name: found[name].value / _NS_PER_MS if name in found else None for name in _NAMES}


def _all_bounds(found: Mapping[str, Estimate]) -> dict[str, list[float | None] | None]:
    return {name: _bounds(found[name], _NS_PER_MS) if name in found else None for name in _NAMES}


def _bounds(estimate: Estimate, unit: float) -> list[float | None]:
    return [None if bound is None else bound / unit for bound in (estimate.low, estimate.high)]
