"""What `nightbench sweep` can be asked, in the groups its help shows. `flows.sweep_request` judges it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from loadgen.dialects import DialectName
from loadgen.job import Pacing
from nightbench.load import Arrival, Goal

__all__ = ["Asked", "Ending", "Sending", "Spacing"]


@Parameter(name="*", group=Group("What is sent", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Sending:
    protocol: DialectName = "raw-http"
    """How the server is asked."""
    model: str = ""
    """The model's name, where the protocol has one."""
    path: str | None = None
    """Where requests go, if not to the protocol's own path or that of the URL."""
    body_bytes: int | None = None
    """Send random bodies of this size (for `json` a document of random letters)."""
    input: Path | None = None
    """Send the tensors of an `.npz`, the lines of a `.jsonl` in rotation, or any other file as it is."""
    input_spec: Annotated[list[str] | None, Parameter(negative=())] = None
    """Send random tensors: `NAME:DTYPE:SHAPE`, batch axis first, such as `image:FP32:1x3x224x224`. Repeatable."""
    prompt_tokens: int | None = None
    """For `openai`: send random prompts of about this length."""
    output_tokens: int | None = None
    """For `openai`, with `--prompt-tokens`: ask for this many tokens; by default 64."""
    batch: int | None = None
    """Items of an `.npz` in one request; by default 1."""
    distinct: int | None = None
    """How many random inputs take turns; by default 16. With 1 a cache can answer."""
    seed: int = 0
    """Seeds random inputs and arrivals."""


@Parameter(name="*", group=Group("How fast", sort_key=2))
@dataclass(frozen=True, kw_only=True)
class Spacing:
    closed: int | None = None
    """Keep this many requests in flight."""
    open: float | None = None
    """Send this many requests a second, whatever becomes of them."""
    arrival: Literal[Arrival.POISSON, Arrival.CONSTANT, Arrival.GAMMA] | None = None
    """Spacing of an open loop; by default poisson."""
    burstiness: float | None = None
    """With `--arrival gamma`: the shape of the gaps. 1 is Poisson, less comes in bursts."""
    trace: Path | None = None
    """Arrivals as recorded in this file, at their own rate or stretched to that of `--open`."""
    search: Goal | None = None
    """Look for the highest throughput (`peak`), the highest rate that keeps `--p99-ms` (`slo`), or the `knee`."""
    p99_ms: float | None = None
    """With `--search slo`: the bound on p99 of the latency."""
    pacing: Pacing | None = None
    """How an open loop waits for its next request: spin is on time and uses up a processor. By default spin where four
    processors or more may be used."""
    workers: int = 1
    """Processes that share the load, where one cannot send it all."""
    machines: int = 1
    """Machines that share it, each with `--workers` processes: those of `nightbench worker` in the `--pool`."""
    pool: str | None = None
    """With `--machines`: the work pool of the machines; by default this machine's own."""


@Parameter(name="*", group=Group("How long", sort_key=3))
@dataclass(frozen=True, kw_only=True)
class Ending:
    duration: float | None = None
    """Seconds to measure, after the warm-up; of each step of a search."""
    requests: int | None = None
    """Stop after this many requests, warm-up included."""
    precision: str | None = None
    """Stop when the intervals of p50 and p99 are as narrow as `P50,P99` percent to either side, such as `2,10`."""
    warmup: float | None = None
    """Seconds that are cut at least; by default a fifth of `--duration`, at most 2."""
    timeout: float | None = None
    """Seconds until a request is given up; by default 10, and 120 for `openai`."""


@Parameter(name="*", group=Group("What is made of it", sort_key=4))
@dataclass(frozen=True, kw_only=True)
class Asked:
    ttft_ms: float | None = None
    """For `openai`: goodput counts requests whose first token came within this time."""
    itl_ms: float | None = None
    """For `openai`: goodput counts requests whose tokens came this far apart at most, on average."""
    calibrate: bool = True
    """First see what the client itself can do, against a server that does nothing: some two seconds."""
    cache_audit: Annotated[bool, Parameter(negative=())] = False
    """Send in turns many inputs and one, and say whether a cache answers."""
    json: Path | None = None
    """Write the figures here."""
    allow_remote: Annotated[bool, Parameter(negative=())] = False
    """Let the load go to another machine."""
