"""What a night leaves behind, as plain records: each one a line of the spool and rows of the database.

Records say what happened, failures included; nothing is dropped because it went wrong. They turn to JSON and
back through `encode` and `decode`, which is also the format of the spool and of result files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.types import Discriminator

from nightbench.errors import NightbenchError
from nightbench.figures import Doubt, Estimate, SearchFigures, Series, StreamFigures
from nightbench.judge.records import (
    CanaryRecord,
    ConfirmationRecord,
    GateRecord,
    JudgementRecord,
    KitRecord,
    TrialRecord,
)
from nightbench.load import EndedBy, Load
from nightbench.model import Format, Precision
from nightbench.server import OptionValue, Protocol

__all__ = [
    "ArtifactRecord",
    "CalibrationRecord",
    "CanaryRecord",
    "Case",
    "ConfirmationRecord",
    "DeploymentRecord",
    "GateRecord",
    "JudgementRecord",
    "KitRecord",
    "MeasurementRecord",
    "MissingRecord",
    "ParityRecord",
    "Record",
    "RunFinished",
    "RunStarted",
    "TrialRecord",
    "WireParityRecord",
    "decode",
    "encode",
]


@dataclass(frozen=True, slots=True)
class Case:
    """The identity of a series: what must be equal for two nights to be compared."""

    model: str
    model_version: int
    artifact_sha256: str
    format: Format
    precision: Precision
    server: str
    options: Mapping[str, OptionValue]
    protocol: Protocol
    batch: int
    load: Load
    threads: int
    hardware: str
    """Kind of machine and the share of it a server may use, never its host name."""
    version: int
    """The suite's benchmark version: raised when its way of measuring changes."""
    launcher: Literal["docker"] | None = None
    """``None`` where the server is a local process, as it was in every night before there were containers."""

    @property
    def fingerprint(self) -> str:
        """A hash that names the series. What may change under a series is `MeasurementRecord.context`."""
        kind = type(self.load).__name__
        # Without what is None: a load that gains a choice keeps its name where that is not taken.
        body = json.loads(_case_adapter().dump_json(self, exclude_none=True))
        # Its sha256 names a trace, wherever the file lies.
        body["load"].get("trace", {}).pop("path", None)
        text = json.dumps({**body, "load_kind": kind}, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class RunStarted:
    run_id: str
    suite: str
    seed: int
    started_at: datetime
    hardware: str
    context: Mapping[str, str]
    """Kernel, CPU, memory, git sha, lock hash, Python, nightbench's version."""
    suite_yaml: str
    """The suite as it was read: with the seed, all it takes to run the night again."""
    planned_cells: int
    kind: Literal["run_started"] = "run_started"


@dataclass(frozen=True, slots=True)
class RunFinished:
    run_id: str
    finished_at: datetime
    status: Literal["completed", "failed", "cancelled"]
    spent_ns: Mapping[str, int]
    """Where the time went: ``setup``, ``export``, ``calibrate``, ``deploy``, ``warmup``, ``measure``, ``ours``."""
    detail: str = ""
    own_ns_per: Mapping[str, int] = field(default_factory=dict)
    """Our own mean time per ``cell`` and per ``deployment``, beside deploying and measuring."""
    kind: Literal["run_finished"] = "run_finished"

    @property
    def took_ns(self) -> int:
        """How long the run was at work, by a clock that nobody sets: without the wait for its turn, breaks before a
        resumption, and what a process that was killed had done."""
        return sum(spent_ns for name, spent_ns in self.spent_ns.items() if name != "waiting")


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """An export, or the reason there is none (``sha256`` is ``None``)."""

    run_id: str
    model: str
    model_version: int
    format: Format
    precision: Precision
    weights: str
    sha256: str | None
    size_bytes: int | None
    export_ns: int | None
    cached: bool
    exporter: Mapping[str, str]
    reproducible: bool
    failure: str | None = None
    peak_rss_bytes: int | None = None
    """The most memory the exporting process held."""
    kind: Literal["artifact"] = "artifact"


@dataclass(frozen=True, slots=True)
class ParityRecord:
    """One output at one batch size against PyTorch fp32 on CPU."""

    run_id: str
    model: str
    format: Format
    precision: Precision
    artifact_sha256: str
    output: str
    batch: int
    max_abs: float
    max_rel: float
    cosine: float
    top1_agreement: float | None
    passed: bool
    detail: str = ""
    rmse: float | None = None
    """``None`` in records from before it was taken, as are the next two."""
    nrmse: float | None = None
    """The largest RMS difference of an item, as a share of the RMS of the whole reference."""
    top5_agreement: float | None = None
    diverges_at: str | None = None
    """The first layer whose output strays, where one was looked for."""
    kind: Literal["parity"] = "parity"


@dataclass(frozen=True, slots=True)
class WireParityRecord:
    """One output of one deployment, asked over the wire before timing, against PyTorch fp32 on CPU."""

    run_id: str
    deployment_id: str
    model: str
    format: Format
    precision: Precision
    artifact_sha256: str
    server: str
    protocol: Protocol
    batch: int
    output: str
    max_abs: float
    max_rel: float
    rmse: float
    nrmse: float
    cosine: float
    top1_agreement: float | None
    top5_agreement: float | None
    items: int
    """How many different items of the pool were compared."""
    answered: bool
    """``False`` where the server could not be asked, so that nothing is known of its numbers."""
    passed: bool
    detail: str = ""
    """Why it did not pass, or what it rests on where not all of the pool was compared."""
    kind: Literal["wire_parity"] = "wire_parity"


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """One start of one server, whether it came up or not."""

    run_id: str
    deployment_id: str
    round: int
    server: str
    server_version: str
    environment: str
    model: str
    format: Format
    precision: Precision
    options: Mapping[str, OptionValue]
    started_at: datetime
    cold_start_ns: int | None
    model_load_ns: int | None
    rss_bytes: int | None
    limits: Mapping[str, str]
    log_path: str
    failure_kind: str | None = None
    failure: str | None = None
    log_tail: str = ""
    launcher: Literal["process", "docker"] = "process"
    image: str = ""
    image_digest: str = ""
    """Of the image a container was started from: what its registry calls it, or for one built here its id."""
    kind: Literal["deployment"] = "deployment"


@dataclass(frozen=True, slots=True)
class MeasurementRecord:
    """One cell in one round."""

    run_id: str
    cell_id: str
    round: int
    deployment_id: str
    case: Case
    started_at: datetime
    warmup_ns: int
    measured_ns: int
    counts: Mapping[str, int]
    """Requests by outcome inside the window."""
    offered_rps: float | None
    """``None`` in a closed loop, which offers nothing of its own accord."""
    throughput_rps: Estimate
    """Successful requests a second; inferences a second are this times ``case.batch``."""
    latency_ns: Mapping[str, Estimate]
    """Quantiles ``p50 p90 p95 p99`` of successful requests, from the intended time. One that the samples
    cannot carry is absent or, where many samples come in few clusters, given without bounds; either is doubted."""
    service_ns: Mapping[str, Estimate]
    lag_ns: Mapping[str, float]
    """Quantiles of how late requests were sent."""
    histogram: str
    """Latency of successful requests: HdrHistogram V2, compressed, base64, nanoseconds."""
    client_cpu_ns_per_request: float | None
    telemetry: tuple[Series, ...]
    context: Mapping[str, str]
    doubts: tuple[Doubt, ...] = ()
    ended_by: EndedBy = EndedBy.DURATION
    pacing: str | None = None
    """How an open loop waited: ``spin`` or ``sleep``."""
    hiccups_ns: Mapping[str, int] = field(default_factory=dict)
    """How long the machine itself kept a spinning client from running: ``p99 p999 max``."""
    ceiling_share: float | None = None
    """Throughput as a share of what the client reaches against a server that does nothing."""
    stream: StreamFigures | None = None
    search: SearchFigures | None = None
    kind: Literal["measurement"] = "measurement"

    @property
    def ok(self) -> int:
        return self.counts.get("ok", 0)

    @property
    def failed(self) -> int:
        return sum(self.counts.values()) - self.ok


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """What the client itself can do with one kind of request, against a server that does nothing."""

    run_id: str
    round: int
    """0 before the first. One fixed kind is repeated at the start of each: where it moves, the machine did."""
    protocol: Protocol
    model: str
    batch: int
    request_bytes: int
    response_bytes: int
    started_at: datetime
    ceiling_rps: Estimate
    """Throughput at concurrency 16."""
    floor_ns: Mapping[str, Estimate]
    """Service time at concurrency 1: quantiles ``p50 p90 p95 p99``."""
    client_cpu_ns_per_request: float
    ceiling_by: Literal["client", "server"] = "client"
    """Which of the two was busier. Where it was the server, the client may reach more."""
    failure: str | None = None
    kind: Literal["calibration"] = "calibration"


@dataclass(frozen=True, slots=True)
class MissingRecord:
    """A planned cell that was not timed, and why: its gap is a result too."""

    run_id: str
    cell_id: str
    round: int
    server: str
    model: str
    format: Format
    precision: Precision
    options: Mapping[str, OptionValue]
    protocol: Protocol
    batch: int
    load: Load
    reason: Literal["export_failed", "parity_failed", "deployment_failed", "measuring_failed"]
    detail: str
    kind: Literal["missing"] = "missing"


Record = (
    RunStarted
    | ArtifactRecord
    | ParityRecord
    | WireParityRecord
    | KitRecord
    | DeploymentRecord
    | CalibrationRecord
    | CanaryRecord
    | MeasurementRecord
    | MissingRecord
    | GateRecord
    | JudgementRecord
    | TrialRecord
    | ConfirmationRecord
    | RunFinished
)


@cache
def _case_adapter() -> TypeAdapter[Case]:
    return TypeAdapter(Case)


@cache
def _adapter() -> TypeAdapter[Any]:
    # JSON has no NaN, and pydantic would write null: a parity that went wrong with NaN must not become unreadable.
    return TypeAdapter(Annotated[Record, Discriminator("kind")], config=ConfigDict(ser_json_inf_nan="strings"))


def encode(record: Record) -> bytes:
    """One line of JSON, without its newline."""
    encoded: bytes = _adapter().dump_json(record)
    return encoded


def decode(line: bytes) -> Record:
    """The record in one line of JSON; `NightbenchError` if it is not one."""
    try:
        record: Record = _adapter().validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        raise NightbenchError(f"not a record: {first['msg']} at {'.'.join(map(str, first['loc']))}") from error
    return record
