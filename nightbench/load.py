"""The two kinds of load. They ask different questions and are never mixed in one series.

A closed loop keeps a fixed number of requests in flight: it finds capacity, and hides queueing.
An open loop sends on a schedule that does not listen to the server: it shows what users would feel.
See Schroeder et al., "Open Versus Closed: A Cautionary Tale", NSDI 2006.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Arrival", "ClosedLoop", "Load", "OpenLoop"]


class Arrival(StrEnum):
    """How an open loop spaces its requests."""

    POISSON = "poisson"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """``concurrency`` clients, each sending its next request when the last one was answered."""

    concurrency: int

    @property
    def label(self) -> str:
        return f"closed c{self.concurrency}"


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests due at times fixed before the run, ``rate_rps`` of them a second on average."""

    rate_rps: float
    arrival: Arrival = Arrival.POISSON

    @property
    def label(self) -> str:
        return f"{self.arrival} {self.rate_rps:g} rps"


Load = ClosedLoop | OpenLoop
