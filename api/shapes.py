"""What is answered, beside the domain's own types."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from api.ask import Answer
from db.api_reads import GoodNight
from db.query import Night
from nightbench.access import ApiKey
from nightbench.judge.alert import AlertKind
from nightbench.judge.series import Direction, Metric
from nightbench.model import DType, Format, Precision
from nightbench.server import OptionValue, Protocol

__all__ = [
    "BenchmarkStarted",
    "InferenceCompared",
    "KeyMade",
    "MetricPoint",
    "Model",
    "Page",
    "RunDeployment",
    "RunDetail",
    "RunGoingOn",
    "RunMissing",
    "Running",
    "Server",
    "ServerOption",
    "Status",
    "Tensor",
]

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some of a list, in its order."""

    items: list[T]
    next: str | None = Field(description="Give it as `after` for the page that follows; null on the last one.")


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: DType
    shape: tuple[int, ...]
    """Without the batch axis."""


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    family: str
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    formats: Mapping[Format, tuple[Precision, ...]]
    language: bool
    licence: str


@dataclass(frozen=True, slots=True)
class ServerOption:
    name: str
    default: OptionValue
    choices: tuple[OptionValue, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Running:
    """A deployment of a run that goes on now on this machine."""

    deployment_id: str
    run_id: str
    model: str
    format: Format
    precision: Precision
    protocols: tuple[Protocol, ...]
    """Empty where the load engine hosts the model: nobody else can ask it."""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    title: str
    formats: tuple[Format, ...]
    protocols: tuple[Protocol, ...]
    batching: bool
    options: tuple[ServerOption, ...]
    running: tuple[Running, ...]


@dataclass(frozen=True, slots=True)
class RunDeployment:
    """One start of a server, whether it came up or not."""

    deployment_id: str
    round: int
    server: str
    server_version: str
    model: str
    format: Format
    precision: Precision
    options: Mapping[str, OptionValue]
    launcher: str
    image: str
    image_digest: str
    cold_start_ns: int | None
    model_load_ns: int | None
    rss_bytes: int | None
    failure_kind: str | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class RunMissing:
    """A planned cell that was not measured, and why."""

    cell_id: str
    round: int
    server: str
    model: str
    format: Format
    precision: Precision
    protocol: Protocol
    batch: int
    load: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunDetail:
    run: Night
    seed: int
    context: Mapping[str, str]
    """Kernel, CPU, git sha, lock hash and the rest of what may have changed."""
    suite_yaml: str
    """With the seed, all it takes to run the night again."""
    spent_ns: Mapping[str, int]
    """Where the time went; empty while it runs."""
    detail: str
    deployments: tuple[RunDeployment, ...]
    missing: tuple[RunMissing, ...]


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One figure of one series in one night."""

    run_id: str
    night: datetime
    suite: str
    fingerprint: str
    server: str
    model: str
    format: str
    precision: str
    protocol: str
    batch: int
    load: Mapping[str, str | int | float | Mapping[str, str]]
    launcher: str
    hardware: str
    metric: Metric
    better: Direction
    """Which way is better."""
    value: float
    low: float | None
    high: float | None
    """Of its 95 % interval over the night's rounds."""
    doubts: tuple[str, ...]
    """Not empty for a figure that is shown and never judged."""


@dataclass(frozen=True, slots=True)
class RunGoingOn:
    run_id: str
    suite: str
    started_at: datetime
    planned: int
    measured: int
    missing: int


@dataclass(frozen=True, slots=True)
class Status:
    version: str
    orchestrator: Literal["up", "down"]
    """Whether the Prefect server answers, without which no run can be started from here."""
    going_on: tuple[RunGoingOn, ...]
    """The runs of this machine's processes."""
    newest: tuple[Night, ...]
    """The newest run of each suite on each kind of machine, of those that ran within 90 days."""
    newest_good: tuple[GoodNight, ...]
    """Of the same, the newest that completed with every planned cell measured."""
    live_alerts: Mapping[AlertKind, int]
    spool_files: int
    """Of runs that are not stored yet, those that go on among them."""
    spool_bytes: int


@dataclass(frozen=True, slots=True)
class BenchmarkStarted:
    flow_run_id: str
    """Of Prefect; the run may wait its turn."""
    suite: str


@dataclass(frozen=True, slots=True)
class InferenceCompared:
    model: str
    batch: int
    answers: tuple[Answer, ...]
    """In the order asked for, which is that in which they were asked."""


@dataclass(frozen=True, slots=True)
class KeyMade:
    key: ApiKey
    secret: str
    """Shown this once: what is kept is its hash."""
