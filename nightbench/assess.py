"""From one cell's raw samples to its figures, and every reason to doubt them. Pure: no clock, no files."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench import doubts
from nightbench.histogram import LatencyHistogram
from nightbench.load import Load, OpenLoop
from nightbench.record import Doubt, Estimate
from nightbench.samples import Samples
from nightbench.stats.quantiles import NotEnough, quantiles
from nightbench.stats.rates import throughput
from nightbench.stats.warmup import Cut, warmup_cut

__all__ = ["Assessed", "assess"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LAG_QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True, slots=True)
class Assessed:
    """The figures of one cell; fields as in `nightbench.record.MeasurementRecord`."""

    warmup_ns: int
    measured_ns: int
    counts: Mapping[str, int]
    offered_rps: float | None
    throughput_rps: Estimate
    latency_ns: Mapping[str, Estimate]
    service_ns: Mapping[str, Estimate]
    lag_ns: Mapping[str, float]
    """Quantiles ``p50 p99 p999``; empty when nothing was due."""
    histogram: str
    client_cpu_ns_per_request: float | None
    doubts: tuple[Doubt, ...]


def assess(
    samples: Samples,
    load: Load,
    *,
    started_ns: int,
    ended_ns: int,
    min_warmup_ns: int,
    client_cpu_ns: int | None,
    verified: int,
    wrong: int,
    duration_s: float,
    foreign_cpu_percent: float | None,
    server_died: bool,
    in_process: bool = False,
) -> Assessed:
    """Cut the warm-up, take the figures of what is left, and say what is doubtful about them.

    The measured window runs from the end of the warm-up, ``min_warmup_ns`` or later if `warmup_cut` finds that a
    transient in the successful latencies outlasts it, to the end of sending, ``started_ns + duration_s`` or
    ``ended_ns`` if that came first. A stall after a calm beginning is no warm-up and stays in the figures.

    A quantile of many samples that came in too few clusters is given without bounds, and doubted: one stall is
    seen, though not how often it happens.

    A request belongs to the window by its intended time, for counts, latency, service and lag: choosing by
    completion would leave out the slowest. Throughput counts successful answers by the time they were done,
    for that is what the server delivered in the window; warm-up requests answered late come in and late ones
    go out, which is equal in a steady state, and Little's law is checked for exactly that. ``offered_rps`` is what
    was due in the window a second, in an open loop.

    ``in_process`` says that the client hosts the model: its ``client_cpu_ns`` is then unknown, and a late start is
    a wait for the model. ``client_cpu_ns`` and ``started_ns .. ended_ns`` cover the whole run.
    ``foreign_cpu_percent`` counts one processor as 100. ``verified`` answers were compared, ``wrong`` of them differed.
    An empty or wholly failed window gives zero throughput, no quantiles, and doubts.
    """
    cut, window = _window(samples, started_ns, min(started_ns + round(duration_s * 1e9), ended_ns), min_warmup_ns)
    latency, refused = _estimates(window.ok.latency_ns)
    service, _ = _estimates(window.ok.service_ns)
    lag = _lag(window.due)
    rate = throughput(samples.done_ns[samples.ok], window.start_ns, window.end_ns)
    offered = len(window.due) / window.seconds if isinstance(load, OpenLoop) and window.seconds > 0 else None
    found = [
        *doubts.too_few(window, refused, cut),
        *doubts.not_stationary(cut),
        *doubts.errors(window),
        *doubts.wrong_output(window, verified, wrong),
        *doubts.late_sends(load, window, lag, in_process=in_process),
        *doubts.client_saturated(client_cpu_ns, ended_ns - started_ns),
        *doubts.rate_missed(load, window, rate),
        *doubts.littles_law(samples, load, window),
        *doubts.foreign_load(foreign_cpu_percent),
        *doubts.server_dead(server_died),
    ]
    return Assessed(
        warmup_ns=window.start_ns - started_ns,
        measured_ns=max(0, window.end_ns - window.start_ns),
        counts=window.due.counts(),
        offered_rps=0.0 if offered is None and isinstance(load, OpenLoop) else offered,
        throughput_rps=rate,
        latency_ns=latency,
        service_ns=service,
        lag_ns=lag,
        histogram=LatencyHistogram.from_ns(window.ok.latency_ns).encode(),
        client_cpu_ns_per_request=None if client_cpu_ns is None or not len(samples) else client_cpu_ns / len(samples),
        doubts=tuple(found),
    )


def _window(samples: Samples, started_ns: int, end_ns: int, min_warmup_ns: int) -> tuple[Cut, doubts.Window]:
    start_ns = min(started_ns + min_warmup_ns, max(started_ns, end_ns))
    due = samples.between(start_ns, end_ns)
    ok = _successful(due)
    cut = warmup_cut(ok.latency_ns, before=_successful(samples.between(started_ns, start_ns)).latency_ns)
    if cut.index:
        start_ns = int(ok.intended_ns[cut.index])
        due, ok = due.between(start_ns, end_ns), ok.between(start_ns, end_ns)
    return cut, doubts.Window(start_ns, end_ns, due, ok)


def _successful(due: Samples) -> Samples:
    """The usual cell has no failure, and then needs no copy."""
    good = due.ok
    return due if good.all() else due.where(good)


def _estimates(values_ns: NDArray[np.int64]) -> tuple[dict[str, Estimate], dict[str, int]]:
    """The quantiles the samples hold, and how many requests would be needed by those they cannot carry."""
    found: dict[str, Estimate] = {}
    refused: dict[str, int] = {}
    answers = quantiles(values_ns, QUANTILES.values())
    for name, q in QUANTILES.items():
        answer = answers[q]
        if isinstance(answer, NotEnough):
            refused[name] = answer.needed
            if answer.seen is not None:
                found[name] = Estimate(answer.seen)
        else:
            found[name] = answer
    return found, refused


def _lag(due: Samples) -> dict[str, float]:
    """How late requests were sent. One that never was is at least as late as the time it was given up."""
    if not len(due):
        return {}
    lag = np.where(due.sent_ns > 0, due.lag_ns, due.latency_ns)
    return dict(zip(LAG_QUANTILES, np.quantile(lag, list(LAG_QUANTILES.values())).tolist(), strict=True))
