"""What is special about an inference server, and what a running one looks like from outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol as TypingProtocol

from nightbench.model import Artifact, Format, ModelSpec

__all__ = [
    "EXTERNAL",
    "BatchProof",
    "Command",
    "Deployment",
    "Endpoint",
    "Launcher",
    "Limits",
    "Metrics",
    "Option",
    "OptionValue",
    "ProbeResult",
    "ProbeStatus",
    "Prober",
    "Protocol",
    "ServeRequest",
    "ServerSpec",
    "Stop",
]

OptionValue = bool | int | float | str

EXTERNAL = "external"
"""What stands for the environment of a server that was running already."""


class Protocol(StrEnum):
    """How a request travels."""

    IN_PROCESS = "in-process"
    RAW_HTTP = "raw-http"
    KSERVE_HTTP = "kserve-http"
    KSERVE_GRPC = "kserve-grpc"
    KSERVE_V1 = "kserve-v1"
    JSON_HTTP = "json-http"
    MULTIPART = "multipart"
    TORCHSERVE = "torchserve"
    TORCHSERVE_GRPC = "torchserve-grpc"
    TFSERVING_REST = "tfserving-rest"
    TFSERVING_GRPC = "tfserving-grpc"
    KSERVE_HTTP_SHM = "kserve-http-shm"
    """KServe V2 over HTTP; the tensors lie in system shared memory, or a GPU's."""
    KSERVE_GRPC_SHM = "kserve-grpc-shm"
    OPENAI = "openai"
    """OpenAI-compatible chat or completions, streamed as server-sent events."""
    OPAQUE_HTTP = "opaque-http"
    """Given bytes, posted as they are; whatever is answered is not looked into."""


class Launcher(StrEnum):
    """What starts a suite's servers."""

    AUTO = "auto"
    """Docker where an engine answers, else processes; settled before a night's first deployment, and once."""
    DOCKER = "docker"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a server under the server's own name. Its default keeps servers comparable."""

    name: str
    default: OptionValue
    help: str
    choices: tuple[OptionValue, ...] = ()
    minimum: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one deployment may use. ``None`` leaves a resource unlimited."""

    cpus: tuple[int, ...] | None = None
    """Logical processors it may run on."""
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()
    """GPUs that a container is given, each by index or UUID, or ``all``; a process sees what its user sees."""


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """All a server folder may ask about the one instance it is told to start."""

    model: ModelSpec
    artifact: Artifact
    options: Mapping[str, OptionValue]
    threads: int
    """Intra-op threads of the model's runtime; equal for every server of a suite."""
    host: str
    ports: Mapping[str, int]
    """A free port for each name in ``ServerSpec.ports``."""
    workdir: Path
    """Private to this deployment and removed after it: model repositories, sockets, temp files."""
    load_time_path: Path
    """Where ``serve.py`` writes the nanoseconds its model took to load, as a decimal integer."""
    python: Path
    """The interpreter of the server's own environment."""
    site_packages: Path
    """Where that environment's packages lie, for servers that are not Python programs."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start: never a shell line. ``env`` is added to a minimal environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where a server publishes Prometheus metrics."""

    port: str
    path: str


@dataclass(frozen=True, slots=True)
class BatchProof:
    """Where a server that joins requests says that it did: two counters of its own on a Prometheus page.

    Between two readings of the page, the change of ``items`` over that of ``executions`` is the mean batch size. A
    histogram of batch sizes is such a pair: its ``_sum`` and its ``_count``.
    """

    items: str
    """Counts inferences, a batch of requests as many; summed over all its labels. Without a suffix ``_total``."""
    executions: str
    """Counts runs of the model."""
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    """What turns joining on, generously: it is to be seen, not to be fast. Empty where it cannot be turned off."""
    page: Metrics | None = None
    """Where they stand, if not on the server's own `ServerSpec.metrics` page."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How a server is asked to leave; its whole process tree is killed once ``grace_s`` is over."""

    signal: str = "SIGTERM"
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One inference server. The folder that holds it holds everything that is special about it."""

    name: str
    title: str
    folder: Path
    distribution: str
    """The package in ``requirements.txt`` whose version is the server's version."""
    formats: tuple[Format, ...]
    protocols: Mapping[Protocol, str]
    """Each protocol it speaks and the name of the port it speaks it on (``""`` for in-process)."""
    command: Callable[[ServeRequest], Command]
    """Lays out the working directory and says what to start. For in-process: never started, see ``module``."""
    ports: tuple[str, ...] = ("http",)
    options: tuple[Option, ...] = ()
    check: Callable[[Mapping[str, OptionValue]], None] | None = None
    """Raises `UsageError` for options that do not fit together or are malformed, before any work. It is given a
    value for every option, each of the right type and allowed by its `Option`."""
    fits: Callable[[ModelSpec, Format, Mapping[str, OptionValue]], None] | None = None
    """Raises `UsageError` for a model, format and options that do not go together, before any work."""
    batching: bool = False
    """Whether it can join concurrent requests into one batch."""
    batch_proof: BatchProof | None = None
    """Every server with ``batching`` has one."""
    metrics: Metrics | None = None
    ready_timeout_s: float = 120.0
    start_estimate_s: float = 4.0
    """A typical time from start to ready, for `nightbench plan`; never reported as a measurement."""
    stop: Stop = Stop()
    process: bool = True
    """Whether it can run as a local process at all; false for what exists as a container image only."""
    image: str = ""
    """The official image that the container launcher starts, with its digest; empty where the folder's Dockerfile is
    built instead."""
    container: Callable[[ServeRequest], Command] | None = None
    """What to start in a container, where that is not what ``command`` says with the image's paths. Paths below
    ``folder`` are those of the image's ``/srv``; ``workdir`` and the artifact lie inside where they lie outside."""
    read_only: tuple[str, ...] = ()
    """What a container may only read of what ``command`` laid out in ``workdir``, by name: a model repository."""
    writable_root: bool = False
    """Whether its image writes elsewhere than in ``workdir``, ``/tmp`` and ``/dev/shm``, and could not start else."""
    external: "Endpoint | None" = None
    """Where it is running already: nothing is started then."""
    needs: tuple[str, ...] = ()
    """What a machine must have to run it as a process, beside what uv installs: programs by name, to be found on the
    PATH (``java``), or ``gpu``."""

    @property
    def requirements(self) -> Path:
        """The pinned list that both its Dockerfile and its virtual environment are made from."""
        return self.folder / "requirements.txt"

    @property
    def in_process(self) -> bool:
        return Protocol.IN_PROCESS in self.protocols

    def resolve(self, options: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
        """Every option's value: the given ones over the defaults."""
        return {option.name: options.get(option.name, option.default) for option in self.options}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how one deployment is reached under one protocol."""

    protocol: Protocol
    host: str = ""
    port: int = 0
    model: str = ""
    """The model's name as the server knows it."""
    path: str = ""
    """Where requests go, with the query if any; empty for the protocol's own. KServe V2 has no other."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Opaque HTTP only: sent with every request, ``Content-Type`` among them."""
    command: tuple[str, ...] = ()
    """In-process only: the interpreter that must run the load engine, beside the model."""
    module: Path | None = None
    """In-process only: a ``serve.py`` with ``load(artifact: str, options: dict, threads: int)``, which returns
    a function from input arrays to output arrays."""
    artifact: Path | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    threads: int = 1


class ProbeStatus(StrEnum):
    READY = "ready"
    NOT_YET = "not_yet"
    WRONG = "wrong"
    FAILED = "failed"
    """It never will: the model cannot be loaded or called."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer to "does it serve this model correctly yet?"."""

    status: ProbeStatus
    detail: str = ""
    model_load_ns: int | None = None
    rss_bytes: int | None = None


class Prober(TypingProtocol):
    """Asks one real prediction and compares the answer with the reference. Never raises for a bad server."""

    def __call__(self, endpoint: Endpoint, timeout_s: float) -> ProbeResult: ...


@dataclass(frozen=True, slots=True)
class Deployment:
    """One independent start of a server: one replicate."""

    server: str
    endpoints: Mapping[Protocol, Endpoint]
    pid: int | None
    """The root of its process tree; ``None`` where the load engine hosts the model itself, or where it is unknown."""
    cold_start_ns: int | None
    """From starting the process to its first correct answer; ``None`` where nothing was started."""
    model_load_ns: int | None
    rss_bytes: int | None
    """Resident memory of the whole tree when it became ready."""
    server_version: str
    environment: str
    """Hash of the pinned requirement list it runs from, or ``host`` or `EXTERNAL`."""
    log_path: Path
    metrics_url: str | None = None
    container_id: str | None = None
    """``None`` for a local process."""
    image: str = ""
    """Name of the image a container was started from; ``image_digest`` names its bytes."""
    image_digest: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Each limit asked for and how it is held: ``cgroup``, ``affinity``, ``not enforced``."""

    @property
    def in_process(self) -> bool:
        """Whether the load engine hosts the model itself."""
        return Protocol.IN_PROCESS in self.endpoints
