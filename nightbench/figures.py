"""What is said of a cell: figures with their intervals, series, and reasons to doubt them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nightbench.load import EndedBy, Step

__all__ = [
    "Doubt",
    "Estimate",
    "Reason",
    "SearchFigures",
    "SearchStep",
    "Series",
    "StreamFigures",
]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval. A bound is ``None`` where the data cannot give it."""

    value: float
    low: float | None = None
    high: float | None = None


class Reason(StrEnum):
    """Why a figure is doubted. A doubted figure is shown as doubted and never serves as a baseline."""

    TOO_FEW_SAMPLES = "too_few_samples"
    NOT_STATIONARY = "not_stationary"
    ERRORS = "errors"
    WRONG_OUTPUT = "wrong_output"
    LATE_SENDS = "late_sends"
    CLIENT_SATURATED = "client_saturated"
    RATE_MISSED = "rate_missed"
    LITTLES_LAW = "littles_law"
    FOREIGN_LOAD = "foreign_load"
    SERVER_DIED = "server_died"
    SERVER_COUNTS_DIFFER = "server_counts_differ"
    FEW_ROUNDS = "few_rounds"
    OVER_SATURATED = "over_saturated"
    """An open loop whose backlog only grew: ended early, its latencies say nothing but that."""
    BIMODAL = "bimodal"
    CLIENT_CEILING = "client_ceiling"
    """Too near to what the client itself reaches against a server that does nothing."""
    CONNECTIONS_SHORT = "connections_short"
    """A request was due and the client had no connection left to send it on."""
    GPU_THROTTLED = "gpu_throttled"
    GPU_SHARED = "gpu_shared"
    CANARY_MOVED = "canary_moved"
    """The machine itself was not as fast as in the rest of the night."""
    SEARCH_OPEN = "search_open"
    """A search ended without an answer that its steps support."""
    # Found by the quality gate, when all of the night lies side by side.
    INCOMPLETE = "incomplete"
    """Fewer rounds than planned were measured."""
    OUT_OF_RANGE = "out_of_range"
    """A figure that no server can have: negative, infinite, of another unit."""
    QUANTILES_CROSS = "quantiles_cross"
    """A higher quantile is below a lower one."""
    RATE_EXCEEDED = "rate_exceeded"
    """More was achieved than was offered."""


@dataclass(frozen=True, slots=True)
class Doubt:
    reason: Reason
    detail: str
    figures: tuple[str, ...] = ()
    """The figures it concerns, such as ``p99``; empty when it concerns the whole cell."""

    @property
    def whole_cell(self) -> bool:
        return not self.figures


@dataclass(frozen=True, slots=True)
class Series:
    """One telemetry source over a cell's window: offsets from the window's start, and values."""

    source: str
    """``server``, ``client``, ``machine`` or ``gpu<N>``."""
    metric: str
    """With its unit: ``cpu_percent``, ``rss_bytes``, ``triton_queue_us``, ..."""
    offset_ms: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """How a streamed answer came, over the successful requests of the window."""

    ttft_ns: Mapping[str, Estimate]
    """Time to first token, from the intended time: quantiles ``p50 p90 p95 p99``."""
    itl_ns: Mapping[str, Estimate]
    """Inter-token latency: gaps between the tokens of one answer, over all of them."""
    tokens: int
    """Output tokens of the successful requests."""
    tokens_per_s: Estimate
    """Output tokens received a second in the window."""
    goodput_rps: Estimate | None = None
    """Successful requests a second that kept the bounds of ``slo``; ``None`` where none were given."""
    slo: Mapping[str, float] = field(default_factory=dict)
    """``ttft_ms`` and ``itl_ms`` (mean gap of a request), as far as given."""


@dataclass(frozen=True, slots=True)
class SearchStep:
    """One load that a search tried."""

    load: Step
    throughput_rps: Estimate
    latency_ns: Mapping[str, Estimate]
    failed: int
    ended_by: EndedBy
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """The way of a search; the measurement that holds it is its chosen step's."""

    steps: tuple[SearchStep, ...]
    chosen: int
    """Index of the step that is the answer."""
    answer_rps: Estimate
    """The rate or throughput that was looked for, with the interval that the steps leave."""
    detail: str
    """Why it ended there, in words."""
