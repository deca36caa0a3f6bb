"""The kinds of load. They ask different questions and are never mixed in one series.

A closed loop keeps a fixed number of requests in flight: it finds capacity, and hides queueing.
An open loop sends on a schedule that does not listen to the server: it shows what users would feel.
See Schroeder et al., "Open Versus Closed: A Cautionary Tale", NSDI 2006.

A search looks for a load by trying several; a share of the peak is an open loop whose rate follows from one.
"""

from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum
from typing import assert_never

__all__ = [
    "Arrival",
    "ClosedLoop",
    "EndedBy",
    "Goal",
    "Load",
    "OpenLoop",
    "PeakShare",
    "Search",
    "Step",
    "Trace",
    "identity",
    "sharing",
]

_MOST_CONCURRENT = 256


class Arrival(StrEnum):
    """How an open loop spaces its requests."""

    POISSON = "poisson"
    CONSTANT = "constant"
    GAMMA = "gamma"
    """Independent gaps of a gamma distribution, whose shape is the ``burstiness``."""
    TRACE = "trace"
    """The arrivals of a recorded trace, stretched to the rate asked for."""


class Goal(StrEnum):
    """What a search looks for."""

    PEAK = "peak"
    """The highest throughput, over closed loops of growing concurrency."""
    SLO = "slo"
    """The highest open-loop rate whose p99 latency keeps a bound."""
    KNEE = "knee"
    """The load beyond which latency grows faster than throughput: the largest "power", throughput over latency
    (Kleinrock, "Power and Deterministic Rules of Thumb for Probabilistic Problems in Computer Communications",
    ICC 1979), over closed loops of growing concurrency."""


class EndedBy(StrEnum):
    """What ended the sending of a cell."""

    DURATION = "duration"
    """Its budget of time was spent."""
    REQUESTS = "requests"
    """So many were asked for."""
    PRECISION = "precision"
    """The intervals of p50 and p99 are as narrow as asked."""
    OVER_SATURATED = "over_saturated"
    """An open loop whose backlog only grew."""
    ROWS = "rows"
    """There is no memory for more."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Recorded arrivals: a text file of offsets in seconds, one a line, ascending."""

    path: str = field(compare=False)
    """Where the file lay; empty in records read from the database, which keeps what names the trace."""
    sha256: str
    """Of the file. It names the trace wherever the file lies."""


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """``concurrency`` clients, each sending its next request when the last one was answered."""

    concurrency: int

    @property
    def label(self) -> str:
        return f"closed c{self.concurrency}"

    @property
    def size(self) -> float:
        """Sorts loads of one kind."""
        return self.concurrency


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests due at times fixed before the run, ``rate_rps`` of them a second on average."""

    rate_rps: float
    arrival: Arrival = Arrival.POISSON
    burstiness: float | None = None
    """Gamma arrivals only: the shape of the gaps' distribution. 1 is Poisson, less comes in bursts, more is evener."""
    trace: Trace | None = None
    """Trace arrivals only."""

    @property
    def label(self) -> str:
        return f"{self.spacing} {self.rate_rps:g} rps"

    @property
    def spacing(self) -> str:
        """How requests are spaced, in words: loads of one spacing differ by their rate alone."""
        return f"trace {self.trace.sha256[:8]}" if self.trace else _spacing(self.arrival, self.burstiness)

    @property
    def size(self) -> float:
        return self.rate_rps


@dataclass(frozen=True, slots=True)
class PeakShare:
    """An open loop at a share of the throughput that the round's search for the peak found on the same server."""

    share: float
    arrival: Arrival = Arrival.POISSON
    burstiness: float | None = None

    @property
    def label(self) -> str:
        return f"{self.spacing} {100 * self.share:g} % of peak"

    @property
    def spacing(self) -> str:
        """As that of `OpenLoop`."""
        return _spacing(self.arrival, self.burstiness)

    @property
    def size(self) -> float:
        return self.share

    def at(self, peak_rps: float) -> OpenLoop:
        """The open loop it is, where ``peak_rps`` was found."""
        return OpenLoop(self.share * peak_rps, self.arrival, self.burstiness)


@dataclass(frozen=True, slots=True)
class Search:
    """Several loads, one after the other, until the ``goal`` is found."""

    goal: Goal
    p99_ms: float | None = None
    """`Goal.SLO` only: the bound that p99 of the latency keeps."""
    arrival: Arrival = Arrival.POISSON
    """`Goal.SLO` only."""
    burstiness: float | None = None
    most_concurrent: int = _MOST_CONCURRENT
    """`Goal.PEAK` and `Goal.KNEE`: no closed loop is larger."""

    @property
    def label(self) -> str:
        match self.goal:
            case Goal.PEAK | Goal.KNEE if self.most_concurrent == _MOST_CONCURRENT:
                return self.goal.value
            case Goal.PEAK | Goal.KNEE:
                return f"{self.goal} up to c{self.most_concurrent}"
            case Goal.SLO:
                return f"most {_spacing(self.arrival, self.burstiness)} rps with p99 <= {self.p99_ms:g} ms"
            case _:
                assert_never(self.goal)

    @property
    def size(self) -> float:
        return self.p99_ms or 0.0


def _spacing(arrival: Arrival, burstiness: float | None) -> str:
    return arrival.value if burstiness is None else f"{arrival} {burstiness:g}"


@dataclass(frozen=True, slots=True)
class Precision:
    """Half-widths of the 95 % intervals of latency quantiles, as shares of their values; ``None`` asks nothing."""

    p50: float | None = 0.02
    p99: float | None = 0.10


Step = ClosedLoop | OpenLoop
"""A load that can be sent as it is."""

Load = ClosedLoop | OpenLoop | PeakShare | Search


def identity(load: Load) -> tuple[object, ...]:
    """What names a load, as plain values: its kind and every choice that is taken.

    A trace counts by its sha256 alone. What is ``None`` is left out, so that a load that gains a choice keeps its
    name where that is not taken.
    """
    if isinstance(load, OpenLoop) and load.trace is not None:
        load = replace(load, trace=Trace("", load.trace.sha256))
    return type(load).__name__, *(value for value in astuple(load) if value is not None)


def sharing(load: Step, workers: int) -> int:
    """How many processes can share ``load``, of the ``workers`` there may be."""
    return min(workers, load.concurrency) if isinstance(load, ClosedLoop) else workers
