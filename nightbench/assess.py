"""From one cell's raw samples to its figures, and every reason to doubt them. Pure: no clock, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench import doubts, witness
from nightbench.calibration import ceiling_share, client_ceiling
from nightbench.delivery import delivery
from nightbench.figures import Doubt, Estimate, Series
from nightbench.histogram import LatencyHistogram
from nightbench.load import ClosedLoop, EndedBy, OpenLoop, Step
from nightbench.samples import Samples
from nightbench.stats.quantiles import NotEnough, quantiles
from nightbench.stats.warmup import Cut, warmup_cut
from nightbench.witness import Witness

__all__ = ["Assessed", "assess"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LAG_QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
_NOBODY = Witness()


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
    ceiling_share: float | None
    doubts: tuple[Doubt, ...]


def assess(
    samples: Samples,
    load: Step,
    *,
    started_ns: int,
    ended_ns: int,
    min_warmup_ns: int,
    client_cpu_ns: int | None,
    verified: int,
    wrong: int,
    duration_s: float,
    server_died: bool,
    in_process: bool = False,
    ended_by: EndedBy = EndedBy.DURATION,
    workers_cpu_ns: Sequence[int] = (),
    seen: Witness = _NOBODY,
    sending_ended_ns: int | None = None,
    connections_short: bool = False,
) -> Assessed:
    """Cut the warm-up, take the figures of what is left, and say what is doubtful about them.

    The measured window runs from the end of the warm-up, ``min_warmup_ns`` or later if `warmup_cut` finds that a
    transient in the successful latencies outlasts it, to the end of sending: ``sending_ended_ns`` as the engine
    tells it, or as well as can be told without (`_sending_ended_ns`). A stall after a calm beginning is no warm-up and
    stays in the figures.

    A quantile of many samples that came in too few clusters is given without bounds, and doubted: one stall is
    seen, though not how often it happens.

    A request belongs to the window by its intended time, for counts, latency, service and lag: choosing by
    completion would leave out the slowest. Throughput counts successful answers by the time they were done,
    for that is what the server delivered in the window; warm-up requests answered late come in and late ones
    go out, which is equal in a steady state, and Little's law is checked for exactly that. `delivery` says from when
    on, where the warm-up is shorter than the latency. ``offered_rps`` is what was due in the window a second, in an
    open loop.

    ``in_process`` says that the client hosts the model: its ``client_cpu_ns`` is then unknown, and a late start is
    a wait for the model. ``client_cpu_ns``, ``workers_cpu_ns`` and ``started_ns .. ended_ns`` cover the whole run.
    ``verified`` answers were compared, ``wrong`` of them differed.
    ``connections_short`` says that an open loop ran out of connections.
    ``seen`` is looked at within the window, but for the server's counts, which are those of the run.
    An empty or wholly failed window gives zero throughput, no quantiles, and doubts.

    Ten million rows take about 400 MB beside their columns.
    """
    end_ns = sending_ended_ns
    if end_ns is None:
        end_ns = _sending_ended_ns(samples, load, started_ns + round(duration_s * 1e9), ended_ns, ended_by)
    cut, window = _window(samples, started_ns, end_ns, min_warmup_ns)
    latency, refused = _estimates(window.latency_ns)
    service, _ = _estimates(window.service_ns)
    lag = _lag(window.due)
    delivered = delivery(samples, load, started_ns, window.start_ns, window.end_ns)
    rate = delivered.rate
    share = ceiling_share(rate.value, seen.ceiling_rps) if seen.ceiling_rps else None
    telemetry = seen.during(window.start_ns - started_ns, window.end_ns - started_ns)
    found = [*doubts.over_saturated(ended_by, window, rate)]
    if not found:
        # All that a backlog which only grows would raise as well.
        found += [
            *doubts.too_few(window, refused, cut),
            *delivered.doubts(),
            *doubts.not_stationary(cut),
            *doubts.bimodal(window, QUANTILES),
            *doubts.late_sends(load, window, lag, in_process=in_process),
            *doubts.rate_missed(load, window, rate),
            *doubts.littles_law(samples, load, window),
        ]
    found += [
        *doubts.errors(window),
        *doubts.wrong_output(window, verified, wrong),
        *doubts.client_saturated(client_cpu_ns, workers_cpu_ns, ended_ns - started_ns),
        *doubts.connections_short(connections_short),
        *client_ceiling(share, seen.ceiling_by),
        *doubts.foreign_load(_foreign_load(telemetry)),
        *witness.gpu_throttled(telemetry),
        *witness.gpu_shared(telemetry),
        *witness.server_counts(samples, seen.served),
        *doubts.server_dead(server_died),
    ]
    offered = len(window.due) / window.seconds if isinstance(load, OpenLoop) and window.seconds > 0 else None
    return Assessed(
        warmup_ns=window.start_ns - started_ns,
        measured_ns=max(0, window.end_ns - window.start_ns),
        counts=window.due.counts(),
        offered_rps=0.0 if offered is None and isinstance(load, OpenLoop) else offered,
        throughput_rps=rate,
        latency_ns=latency,
        service_ns=service,
        lag_ns=lag,
        histogram=LatencyHistogram.from_ns(window.latency_ns).encode(),
        client_cpu_ns_per_request=None if client_cpu_ns is None or not len(samples) else client_cpu_ns / len(samples),
        ceiling_share=share,
        doubts=tuple(found),
    )


def _sending_ended_ns(samples: Samples, load: Step, planned_ns: int, ended_ns: int, ended_by: EndedBy) -> int:
    """When sending was over, for callers that were not told.

    A schedule that was sent to its end ended as planned, though nothing may have been due in its last moments: an end
    with the last answer would leave that time out, and make the rate higher. A closed loop ended as planned, or when
    the last request was answered (``ended_ns``) if that came first.

    Sending that was ended early ended with its last request, and what followed was waiting for answers. One mean gap
    is added, for a request stands for the time until the next: n requests in n - 1 gaps would be a higher rate.
    """
    if ended_by is EndedBy.DURATION and not isinstance(load, ClosedLoop):
        return planned_ns
    end_ns = min(planned_ns, ended_ns)
    if ended_by is EndedBy.DURATION or not len(samples):
        return end_ns
    first_ns, last_ns = int(samples.intended_ns[0]), int(samples.intended_ns[-1])
    gap_ns = (last_ns - first_ns) // (len(samples) - 1) if len(samples) > 1 else 0
    return min(end_ns, last_ns + max(1, gap_ns))


def _window(samples: Samples, started_ns: int, end_ns: int, min_warmup_ns: int) -> tuple[Cut, doubts.Window]:
    start_ns = min(started_ns + min_warmup_ns, max(started_ns, end_ns))
    due = samples.between(start_ns, end_ns)
    ok, early = due.ok, samples.between(started_ns, start_ns)
    latency_ns = doubts.of_successful(due.latency_ns, ok)
    cut = warmup_cut(latency_ns, before=doubts.of_successful(early.latency_ns, early.ok))
    if cut.index:
        first = int(np.flatnonzero(ok)[cut.index])
        start_ns = int(due.intended_ns[first])
        # Requests due at the very same moment count from the first of them.
        first = int(np.searchsorted(due.intended_ns, start_ns))
        due, ok = due.where(slice(first, None)), ok[first:]
        latency_ns = latency_ns[len(latency_ns) - int(np.count_nonzero(ok)) :]
    return cut, doubts.Window(start_ns, end_ns, due, ok, latency_ns)


def _foreign_load(telemetry: Sequence[Series]) -> float | None:
    """Processor time that others used in the window, one processor as 100; ``None`` where nobody looked.

    Not that of the whole run: while engines start, what they use is not yet known to be ours.
    """
    values = [value for series in telemetry if series.metric == "foreign_cpu_percent" for value in series.values]
    return sum(values) / len(values) if values else None


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
    lag = due.lag_ns
    unsent = np.flatnonzero(due.sent_ns <= 0)
    lag[unsent] = due.done_ns[unsent] - due.intended_ns[unsent]
    levels = list(LAG_QUANTILES.values())
    return dict(zip(LAG_QUANTILES, np.quantile(lag, levels, overwrite_input=True).tolist(), strict=True))
