"""What others than the load engine saw of a run, and the doubts that follow: one rule each, as in `doubts`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Doubt, Reason, Series
from nightbench.samples import Outcome, Samples

__all__ = ["Served", "Witness", "gpu_shared", "gpu_throttled", "server_counts"]

MAX_THROTTLED_SHARE = 0.05
"""Of the samples in which the GPU was busy, and at least two of them. A hardware slowdown halves the clocks or worse,
so that a twentieth of the time moves the mean by as much as we look for; a single sample may be a change of clocks,
which NVML reports as one too."""
MAX_SHARED_SHARE = 0.05
"""Likewise at least two: a process of the launcher's or of a monitor's may look in."""
MAX_CLOCK_MOVE = 0.05
"""Clocks that moved by 15 % were taken for a regression (flashinfer#2899); a twentieth is what we look for."""
FEWEST_CLOCKS = 12
"""Busy samples in the first third and in the last: seven seconds at the usual rate. Of 200,000 simulated series of so
many independent clocks, however wild, about 1 in 10,000 seemed to move; with thirds of eight, 1 in 500."""

_SLOWDOWNS = {
    "thermal_slowdown": "too hot",
    "power_brake": "its power supply braked it",
    "hw_slowdown": "a hardware slowdown",
}
_ANSWERED_WELL = (Outcome.OK, Outcome.WRONG_OUTPUT)
_GIVEN_UP = (Outcome.RESET, Outcome.TIMEOUT, Outcome.PROTOCOL_ERROR, Outcome.UNFINISHED)
_ANSWERED_BADLY = tuple(set(Outcome) - {*_ANSWERED_WELL, *_GIVEN_UP, Outcome.REFUSED})


@dataclass(frozen=True, slots=True)
class Served:
    """What the server says it served, between a moment before the first request and one after the last."""

    requests: int
    failed_too: bool = False
    """Whether it may have counted requests that it did not answer well."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What was seen of a run from outside. What nobody looked at is empty or ``None``, and never doubted."""

    telemetry: tuple[Series, ...] = ()
    """Over the run: offsets from its start."""
    served: Served | None = None
    ceiling_rps: float | None = None
    """What the client reaches with such requests against a server that does nothing (`nightbench.calibration`)."""
    ceiling_by: Literal["client", "server"] = "client"
    """Which of the two set the ceiling: the client can do more than one that the null server set."""

    def during(self, start_ns: int, end_ns: int) -> tuple[Series, ...]:
        """The telemetry between two times after the run's start; series without a sample there are left out."""
        return tuple(part for series in self.telemetry if (part := _between(series, start_ns, end_ns)).values)


def server_counts(samples: Samples, served: Served | None) -> Iterator[Doubt]:
    """The server counted other requests than ours; ``samples`` are all of the run, warm-up included.

    No tolerance: the first reading is taken before the first request and the second after the last was answered or
    given up, so that none is in flight, and servers count whole requests. Those we gave up may have been served
    behind our back, which leaves a range. Wrong answers were served. Retries do not exist here.
    """
    if served is None:
        return
    answered = _count(samples, _ANSWERED_WELL)
    open_ended = _count(samples, _GIVEN_UP + (_ANSWERED_BADLY if served.failed_too else ()))
    if answered <= served.requests <= answered + open_ended:
        return
    also = f", and {open_ended} more may have been" if open_ended else ""
    why = (
        "someone else sends to it, or it worked off what was sent before"
        if served.requests > answered
        else "something in between answered, or its counter is not to be trusted"
    )
    yield Doubt(
        Reason.SERVER_COUNTS_DIFFER,
        f"the server says it served {served.requests} requests, but {answered} were answered{also}: {why}",
    )


def gpu_throttled(telemetry: Sequence[Series]) -> Iterator[Doubt]:
    """A GPU that computed was held back, or its clock moved, within ``telemetry``.

    Heat, a braking power supply and hardware slowdowns come from outside the experiment. A power cap set by software
    (NVML's SwPowerCap) does not: at full load it is where many boards always work, the same every night. It is kept in
    the telemetry, and doubted only if the clock moved under it.
    """
    for gpu in _computing(telemetry):
        busy = _busy(telemetry, gpu)
        for metric, words in _SLOWDOWNS.items():
            share = _often(busy.get(metric, _NONE), MAX_THROTTLED_SHARE)
            if share:
                yield Doubt(Reason.GPU_THROTTLED, f"{gpu} was slowed down in {share:.0%} of the samples: {words}")
                break
        else:
            yield from _clock_moved(gpu, busy.get("sm_clock_mhz", _NONE))


def gpu_shared(telemetry: Sequence[Series]) -> Iterator[Doubt]:
    """Another process held a compute context on the GPU that our server computes on.

    That is what NVML lists (nvmlDeviceGetComputeRunningProcesses). It is less than computing, and enough: its work,
    whenever there is some, takes turns with ours.
    """
    for series in telemetry:
        if series.metric == "foreign_processes":
            share = _often(np.array(series.values), MAX_SHARED_SHARE)
            if share:
                most = round(max(series.values))
                who = "another process" if most == 1 else f"up to {most} other processes"
                yield Doubt(Reason.GPU_SHARED, f"{who} could compute on {series.source} in {share:.0%} of the samples")


_NONE = np.empty(0)


def _clock_moved(gpu: str, clocks: NDArray[np.float64]) -> Iterator[Doubt]:
    """The clock's level differs between the first third and the last, beyond what it varies in either.

    The deciles that face each other must be apart by `MAX_CLOCK_MOVE`: a clock that jumps about all the time, as
    under a power cap, has the same level throughout.
    """
    third = len(clocks) // 3
    if third < FEWEST_CLOCKS:
        return
    first, last = clocks[:third], clocks[-third:]
    low, high = sorted((first, last), key=lambda part: float(np.median(part)))
    if np.quantile(low, 0.9) < (1.0 - MAX_CLOCK_MOVE) * np.quantile(high, 0.1):
        before, after = float(np.median(first)), float(np.median(last))
        yield Doubt(
            Reason.GPU_THROTTLED,
            f"the clock of {gpu} moved from {before:.0f} to {after:.0f} MHz ({after / before - 1.0:+.0%})",
        )


def _computing(telemetry: Sequence[Series]) -> list[str]:
    """The GPUs that our server is known to compute on; all there are where that is not known."""
    known = {series.source for series in telemetry if series.metric == "foreign_processes"}
    return sorted(known or {series.source for series in telemetry if series.source.startswith("gpu")})


def _busy(telemetry: Sequence[Series], gpu: str) -> dict[str, NDArray[np.float64]]:
    """The values of a GPU's metrics at the moments it was busy, and all of them where it does not tell.

    Idle GPUs lower their clocks, which is no throttling.
    """
    told = {series.metric: series for series in telemetry if series.source == gpu}
    use = told.get("utilisation_percent")
    idle = set() if use is None else {at for at, value in zip(use.offset_ms, use.values, strict=True) if value <= 0.0}
    return {
        metric: np.array([value for at, value in zip(one.offset_ms, one.values, strict=True) if at not in idle])
        for metric, one in told.items()
    }


def _often(values: NDArray[np.float64], most: float) -> float | None:
    """The share of values above zero, if it is more than ``most`` and more than a single one."""
    count = int(np.count_nonzero(values > 0.0))
    return count / len(values) if count >= max(2, math.floor(most * len(values)) + 1) else None


def _count(samples: Samples, outcomes: tuple[Outcome, ...]) -> int:
    """Requests that were sent and ended in one of these ways."""
    return int(np.count_nonzero(np.isin(samples.outcome, np.array(outcomes, dtype=np.uint8)) & (samples.sent_ns > 0)))


def _between(series: Series, start_ns: int, end_ns: int) -> Series:
    start_ms, end_ms = start_ns / 1e6, end_ns / 1e6
    kept = [(at, value) for at, value in zip(series.offset_ms, series.values, strict=True) if start_ms <= at <= end_ms]
    return Series(series.source, series.metric, tuple(at for at, _ in kept), tuple(value for _, value in kept))
