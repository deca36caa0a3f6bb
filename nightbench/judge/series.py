"""What is judged: one figure of one cell, night after night."""

from dataclasses import dataclass
from enum import StrEnum

from nightbench.figures import Estimate

__all__ = ["ChangePoint", "Direction", "Metric", "NightPoint", "Point", "Predecessor", "SeriesHistory", "SeriesKey"]


class Direction(StrEnum):
    """Which way is better."""

    HIGHER = "higher"
    LOWER = "lower"


class Metric(StrEnum):
    """The figures that are judged, each with its unit."""

    THROUGHPUT_RPS = "throughput_rps"
    """Closed loops only: an open loop's is what it was sent."""
    LATENCY_P50_NS = "latency_p50_ns"
    LATENCY_P99_NS = "latency_p99_ns"
    ANSWER_RPS = "answer_rps"
    """What a search found."""
    TOKENS_PER_S = "tokens_per_s"
    TTFT_P50_NS = "ttft_p50_ns"
    ITL_P50_NS = "itl_p50_ns"

    @property
    def direction(self) -> Direction:
        return Direction.LOWER if self.endswith("_ns") else Direction.HIGHER


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """Names one series. Nights of another suite, fingerprint or benchmark version are never in it."""

    suite: str
    fingerprint: str
    metric: Metric


@dataclass(frozen=True, slots=True)
class Point:
    """One night of a series."""

    night: str
    """What the night is called: its run's id, a date. Points are in the order of their nights, not of these names."""
    value: float
    low: float | None = None
    """Of the 95 % interval over the night's own rounds."""
    high: float | None = None
    doubted: bool = False
    """It is shown, and never judged nor a baseline."""


@dataclass(frozen=True, slots=True)
class NightPoint:
    """What one night adds to one series."""

    key: SeriesKey
    figure: Estimate
    doubts: tuple[str, ...] = ()
    """The names of the reasons to doubt it."""

    @property
    def doubted(self) -> bool:
        return bool(self.doubts)


@dataclass(frozen=True, slots=True)
class SeriesHistory:
    """What is remembered of one series, tonight's point included where there is one."""

    points: tuple[Point, ...]
    """Since the last re-base, oldest first, doubted ones among them."""
    anchor: Estimate | None = None
    """The level as it was when the baseline was set; a drift is seen against it."""
    since: str | None = None
    """The night of the last re-base; ``None`` where there was none."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The series that a new one takes the place of: the same cell with another artifact, or other options."""

    key: SeriesKey
    history: SeriesHistory


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where a series steps, seen over the whole of its history from today."""

    night: str
    """The first at the new level."""
    before: float
    after: float
    """The levels on its two sides."""
    p_value: float
