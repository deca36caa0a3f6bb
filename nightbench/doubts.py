"""Every reason to doubt a cell's figures: one rule each, its threshold named and argued for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Doubt, Estimate, Reason
from nightbench.load import ClosedLoop, EndedBy, OpenLoop, Step
from nightbench.samples import Samples
from nightbench.stats.modes import modes
from nightbench.stats.warmup import Cut

__all__ = [
    "Window",
    "bimodal",
    "client_saturated",
    "connections_short",
    "errors",
    "foreign_load",
    "late_sends",
    "littles_law",
    "not_stationary",
    "of_successful",
    "over_saturated",
    "rate_missed",
    "server_dead",
    "too_few",
    "wrong_output",
]

MAX_FAILED_SHARE = 0.001
"""Failed requests leave the latencies. A thousandth of them is a tenth of the hundredth that p99 looks at: from
there on p99 of the successful is a friendlier quantile than it says."""
MAX_LAG_NS = 1_000_000
MAX_LAG_SHARE = 0.1
"""Sends are late when p99 of the lag exceeds both 1 ms, the bound of Triton's perf_analyzer, and this share of
the median latency, below which the arrivals a server sees are still those that were asked for. They are late as
well when the lag lengthens p50 or p99 of the latency by more than this share, however quick the server is."""
MAX_SHARE_MOVE = 0.5
"""Of the rarer mode's share: by so much it may differ the next night. A tenth of two hundred requests varies by a fifth
of itself (one sigma) by chance alone, and what sends requests into a mode is seldom chance alone."""
MAX_CLIENT_CORES = 0.9
"""Each process of the engine is one thread. Above this share of a processor, requests wait for the client more than
seldom."""
MAX_RATE_MISS = 0.05
"""Between 95 % and 105 % of the rate the queue is near enough to the one asked about. Chance, as told by the
throughput's interval, is no miss."""
SCHEDULE_SIGMAS = 4.0
"""Poisson arrivals come in more or less by chance; by this much in one cell of 16,000."""
MAX_LITTLE_RESIDUAL = 0.1
"""Room for a client's pause between an answer and its next request. What the window's edges cut off comes on top."""
MAX_FOREIGN_CPU_PERCENT = 10.0
"""Of one processor. A server that shares that processor loses about as much of it, and a tenth is the size of the
changes we look for."""

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Window:
    """The measured part. ``due`` holds requests intended inside it, of which those in ``ok`` succeeded."""

    start_ns: int
    end_ns: int
    due: Samples
    ok: NDArray[np.bool_]
    """One a row of ``due``."""
    latency_ns: NDArray[np.int64]
    """Of the successful ones alone, in order. Kept, since all look at it; a column more is 80 MB in ten million."""

    @property
    def seconds(self) -> float:
        return max(0, self.end_ns - self.start_ns) * 1e-9

    @property
    def service_ns(self) -> NDArray[np.int64]:
        """Of the successful ones alone, made at every call."""
        return of_successful(self.due.service_ns, self.ok)


def of_successful(values: NDArray[np.int64], ok: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The values of the rows in ``ok``. The usual cell has no failure, and then needs no copy."""
    return values if ok.all() else values[ok]


def too_few(window: Window, refused: Mapping[str, int], cut: Cut) -> Iterator[Doubt]:
    """Some quantiles were refused, or a steady state: ``refused`` says how many requests each would need.

    A refused tail leaves the rest of the cell standing; without a median or a steady state nothing stands.
    """
    needed = {**refused, "a steady state": cut.needed} if cut.needed is not None else refused
    if needed:
        needs = ", ".join(f"{name} needs about {count}" for name, count in needed.items())
        spoilt = cut.needed is not None or "p50" in refused
        yield Doubt(
            Reason.TOO_FEW_SAMPLES,
            f"{len(window.latency_ns)} successful requests were measured: {needs}",
            figures=() if spoilt else tuple(refused),
        )


def not_stationary(cut: Cut) -> Iterator[Doubt]:
    """There is evidence that no steady state was reached, or that it did not last."""
    if not cut.stationary:
        yield Doubt(Reason.NOT_STATIONARY, f"latency: {cut.detail}")


def bimodal(window: Window, levels: Mapping[str, float]) -> Iterator[Doubt]:
    """Latencies have two modes with little between. ``levels`` are the quantiles that are given, by name.

    Throughput, and a quantile well inside a mode, mean what they say: whether the modes last is for `not_stationary`
    to tell, and a server that answers two kinds of request in two times is no fault of the cell. A quantile at the
    seam, where the shares of the modes meet, does not: a few more answers in one of them carry it across the gap, by
    more than any change that is looked for. Those are doubted, or the nearest, since the cell must be named.
    """
    found = modes(window.latency_ns)
    if found is None:
        return
    seam = 1.0 - found.slow_share
    apart = {name: abs(level - seam) for name, level in levels.items()}
    reach = max(MAX_SHARE_MOVE * min(seam, found.slow_share), min(apart.values()))
    yield Doubt(Reason.BIMODAL, f"latency has {found.detail}", tuple(name for name in apart if apart[name] <= reach))


def over_saturated(ended_by: EndedBy, window: Window, rate: Estimate) -> Iterator[Doubt]:
    """The engine gave up an open loop whose backlog only grew.

    That says all there is to say of its queue: a rate that was missed, late sends, Little's law and unrest follow.
    """
    if ended_by is EndedBy.OVER_SATURATED:
        due = len(window.due) / window.seconds if window.seconds > 0.0 else 0.0
        yield Doubt(
            Reason.OVER_SATURATED,
            f"sending ended early, for the backlog only grew: {due:.4g} requests a second were due and "
            f"{rate.value:.4g} succeeded; the latencies say how long it was watched, and nothing of the server",
        )


def errors(window: Window) -> Iterator[Doubt]:
    """Enough requests failed to move the quantiles of the successful."""
    total = len(window.due)
    failed = total - len(window.latency_ns)
    if failed > MAX_FAILED_SHARE * total:
        counts = sorted(window.due.counts().items(), key=lambda pair: -pair[1])
        kinds = ", ".join(f"{label} {count}" for label, count in counts if label != "ok")
        yield Doubt(
            Reason.ERRORS,
            f"{failed} of {total} requests failed ({failed / total:.2%}, more than {MAX_FAILED_SHARE:.1%}): {kinds}",
        )


def wrong_output(window: Window, verified: int, wrong: int) -> Iterator[Doubt]:
    """Any wrong answer: the server was fast at something else."""
    wrong = max(wrong, window.due.counts().get("wrong_output", 0))
    if wrong:
        yield Doubt(Reason.WRONG_OUTPUT, f"{wrong} of {max(verified, wrong)} compared answers were wrong")


def late_sends(load: Step, window: Window, lag: Mapping[str, float], *, in_process: bool) -> Iterator[Doubt]:
    """The client did not send when it should have. A closed loop has no such times.

    Where the client hosts the model, a late start is a wait for the model: queueing, not lateness. Over a wire the
    samples cannot tell a late client from one that had every connection busy, so both are doubted.
    """
    if in_process or isinstance(load, ClosedLoop) or not len(window.latency_ns):
        return
    levels = [0.5, 0.99]
    latency = np.quantile(window.latency_ns, levels)
    service = np.quantile(window.service_ns, levels)
    if lag["p99"] > max(MAX_LAG_NS, MAX_LAG_SHARE * latency[0]):
        yield Doubt(
            Reason.LATE_SENDS,
            f"p99 of the send lag is {lag['p99'] / _NS_PER_MS:.2f} ms, {lag['p99'] / latency[0]:.0%} of the median "
            f"latency",
        )
        return
    for name, whole, own in zip(("p50", "p99"), latency, service, strict=True):
        if whole > (1.0 + MAX_LAG_SHARE) * own:
            yield Doubt(
                Reason.LATE_SENDS,
                f"late sends lengthen {name} of the latency from {own / _NS_PER_MS:.3f} to {whole / _NS_PER_MS:.3f} ms",
            )
            return


def client_saturated(client_cpu_ns: int | None, workers_cpu_ns: Sequence[int], run_ns: int) -> Iterator[Doubt]:
    """A process of the client had no processor time to spare, over a run of ``run_ns``.

    ``client_cpu_ns`` is that of all ``workers_cpu_ns``, which may be empty for a client of one. The busiest decides:
    its share of the requests waits, however idle the others are.
    """
    if client_cpu_ns is None or run_ns <= 0:
        return
    busiest_ns = max(workers_cpu_ns, default=client_cpu_ns)
    if busiest_ns > MAX_CLIENT_CORES * run_ns:
        who = f"the busiest of {len(workers_cpu_ns)} client processes" if len(workers_cpu_ns) > 1 else "the client"
        yield Doubt(
            Reason.CLIENT_SATURATED,
            f"{who} used {busiest_ns / run_ns:.0%} of a processor, more than {MAX_CLIENT_CORES:.0%}",
        )


def connections_short(short: bool) -> Iterator[Doubt]:
    """An open loop had no connection left: what waited then waited for the client, however many the server takes."""
    if short:
        yield Doubt(
            Reason.CONNECTIONS_SHORT,
            "the client had no connection left: requests waited in it until one was free",
        )


def rate_missed(load: Step, window: Window, rate: Estimate) -> Iterator[Doubt]:
    """The load point is not what it is called: not served at the rate that was due, or not due at the rate asked."""
    if not isinstance(load, OpenLoop) or window.seconds <= 0.0:
        return
    due, asked = len(window.due) / window.seconds, load.rate_rps
    by_chance = rate.low is not None and rate.high is not None and rate.low <= due <= rate.high
    if abs(rate.value - due) > MAX_RATE_MISS * due and not by_chance:
        yield Doubt(Reason.RATE_MISSED, f"{rate.value:.4g} requests a second succeeded of {due:.4g} that were due")
    elif abs(due - asked) > max(MAX_RATE_MISS * asked, SCHEDULE_SIGMAS * math.sqrt(asked / window.seconds)):
        yield Doubt(Reason.RATE_MISSED, f"{due:.4g} requests a second were due, {asked:.4g} were asked for")


def littles_law(samples: Samples, load: Step, window: Window) -> Iterator[Doubt]:
    """Little's law (1961): mean number in flight = completions a second x mean time in flight.

    Over all outcomes, since a failing request is in flight too. In a closed loop the number in flight is the
    concurrency, which also shows a client that is slow to send the next; in an open loop it is the integral of
    what the samples say. The two sides differ by what the window's edges cut, up to the requests in flight there.
    """
    span = window.end_ns - window.start_ns
    if span <= 0 or not len(window.due):
        return
    completed = int(np.count_nonzero((samples.done_ns >= window.start_ns) & (samples.done_ns < window.end_ns)))
    implied = completed / span * float(window.due.latency_ns.mean())
    if isinstance(load, ClosedLoop):
        in_flight = float(load.concurrency)
    else:
        overlap = np.minimum(samples.done_ns, window.end_ns)
        overlap -= np.maximum(samples.intended_ns, window.start_ns)
        in_flight = float(np.maximum(overlap, 0, out=overlap).sum()) / span
    edges = 2.0 * max(1.0, in_flight) / max(1, completed)
    if abs(implied - in_flight) > (MAX_LITTLE_RESIDUAL + edges) * in_flight:
        yield Doubt(
            Reason.LITTLES_LAW,
            f"{in_flight:.3g} requests were in flight, but throughput times latency is {implied:.3g} "
            f"({implied / in_flight - 1:+.0%})",
        )


def foreign_load(percent: float | None) -> Iterator[Doubt]:
    """Someone else was busy on the machine; ``None`` where nobody looked."""
    if percent is not None and percent > MAX_FOREIGN_CPU_PERCENT:
        yield Doubt(
            Reason.FOREIGN_LOAD,
            f"other processes used {percent:.0f} % of a processor, more than {MAX_FOREIGN_CPU_PERCENT:.0f} %",
        )


def server_dead(server_died: bool) -> Iterator[Doubt]:
    """The server was gone when the cell was over."""
    if server_died:
        yield Doubt(Reason.SERVER_DIED, "the server died while it was measured")
