"""One cell as the load engine is told it, and what the engine says back.

The engine is a process of its own (`python -m loadgen`): a job on standard input as JSON, the samples in memory that
it shares with its caller, one line of JSON on standard output at the end. Nothing is written while it measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from nightbench.load import EndedBy, Precision, Step
from nightbench.model import TensorSpec, Tolerance
from nightbench.parity import OutputParity
from nightbench.server import Endpoint

__all__ = ["Job", "JobResult", "Pacing", "Part"]


class Pacing(StrEnum):
    """How an open loop waits for its next request."""

    SLEEP = "sleep"
    """Asleep, and some tens of microseconds late when the kernel wakes it."""
    SPIN = "spin"
    """Awake for the last moment: on time, and using up a processor."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one machine sends of a load that several machines share (`loadgen.spread`)."""

    machine: int
    """From 0."""
    machines: int
    start_at_ns: int
    """When all begin, in nanoseconds of Unix time: a machine's monotonic clock says nothing to another."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, where, how fast, and for how long."""

    # A misspelt field of a plan written by hand is an error.
    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    endpoint: Endpoint
    load: Step
    batch: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    pool: Path
    """The `nightbench.model.InputPool` file."""
    tolerance: Tolerance
    duration_s: float
    """How long requests are sent, warm-up included. The caller cuts the warm-up from the samples."""
    samples: Path
    """Where the `nightbench.samples.Samples` go."""
    seed: int = 0
    """Seeds the arrivals and the order of inputs."""
    timeout_s: float = 10.0
    verify_every: int = 50
    """Every n-th answer is compared with the reference after the run; 0 compares none."""
    max_requests: int | None = None
    """Stop after this many requests, whichever comes first."""
    cpus: tuple[int, ...] | None = None
    """Logical processors the engine may run on."""
    workers: int = 1
    """Processes that share the load: a closed loop's concurrency, or the schedule of an open loop."""
    part: Part | None = None
    """Given, other machines send the rest, with as many workers each."""
    precision: Precision | None = None
    """Stop when figures are known this well, ``duration_s`` at the latest."""
    min_warmup_s: float = 0.0
    """What the caller will cut at least: not looked at for precision."""
    stop_over_saturated: bool = True
    """End an open loop early whose backlog only grows."""
    rehearse: bool = False
    """In-process only: first ask the model for the whole pool, and time nothing unless all answers are right."""
    classifier: bool = False
    """Whether the first output holds class scores, for what is said of the rehearsal."""
    pacing: Pacing | None = None
    """Of an open loop. ``None`` spins if ``cpus`` were given and are not all the machine has: they idle otherwise."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job went. ``error`` says why there are no samples; it is never raised for a bad server."""

    requests: int
    started_ns: int
    """When the first request was due, on the clock of the samples: the machine's monotonic one, as telemetry's."""
    ended_ns: int
    """When the last request was answered or given up."""
    client_cpu_ns: int
    """User and system time of the engine from ``started_ns`` to ``ended_ns``, without ``spin_ns``."""
    verified: int
    wrong: int
    outcomes: Mapping[str, int]
    detail: str = ""
    """The first wrong answer or failure, in words."""
    model_load_ns: int | None = None
    """In-process only."""
    rss_bytes: int | None = None
    """In-process only."""
    error: str | None = None
    spin_ns: int = 0
    """Processor time spent on waiting awake (`Pacing.SPIN`): the turns of the spin that found nothing to do."""
    ended_by: EndedBy = EndedBy.DURATION
    sending_ended_ns: int = 0
    """When ``ended_by`` ended the sending: the end of the window that figures may be taken of. The last answer came
    later, or a little earlier where nothing was due at the end."""
    workers_cpu_ns: tuple[int, ...] = ()
    """``client_cpu_ns`` of each worker: one of them may be saturated while the sum looks idle."""
    pacing: Pacing | None = None
    """How an open loop did wait."""
    hiccups_ns: Mapping[str, int] = field(default_factory=dict)
    """How long the machine itself kept the spinning engine from running: ``p99``, ``p999`` and ``max`` of the delay
    of a random moment, standstills below 10 µs not counted. Empty where nothing spun."""
    connections_short: bool = False
    """Requests waited for a connection, or got none, because this machine had no room for another: what followed,
    a backlog above all, may be the client's doing. Nothing is called over-saturated from then on."""
    why: str = ""
    """What was hopeless, in words, where ``ended_by`` is `EndedBy.OVER_SATURATED`."""
    parity: tuple[OutputParity, ...] = ()
    wall_error_ns: int | None = None
    """Of a part: by how much this machine's clock may be wrong, as its kernel estimates; ``None`` if it does not."""
    """What the rehearsal said, if there was one."""

    @classmethod
    def failed(cls, error: str) -> "JobResult":
        """The result of a job that has no samples."""
        return cls(
            requests=0,
            started_ns=0,
            ended_ns=0,
            client_cpu_ns=0,
            verified=0,
            wrong=0,
            outcomes={},
            error=error,
        )
