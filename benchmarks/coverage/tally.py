"""How often intervals held the truth."""

import math
import statistics
from dataclasses import dataclass, field

from nightbench.figures import Estimate
from nightbench.stats.quantiles import NotEnough

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """How often an interval held the truth."""

    runs: int = 0
    covered: int = 0
    refused: int = 0
    unbounded: int = 0
    widths: list[float] = field(default_factory=list)

    def add(self, answer: Estimate | NotEnough, truth: float) -> None:
        """Count one answer. A bound of ``None`` holds everything on its side, and is counted apart."""
        if isinstance(answer, NotEnough):
            self.refused += 1
            return
        low = -math.inf if answer.low is None else answer.low
        high = math.inf if answer.high is None else answer.high
        self.runs += 1
        self.covered += low <= truth <= high
        if math.isinf(high - low):
            self.unbounded += 1
        else:
            self.widths.append((high - low) / truth)

    @property
    def coverage(self) -> float:
        return self.covered / self.runs

    @property
    def slack(self) -> float:
        """Two standard deviations of the observed coverage, were it truly 95 %."""
        return 2.0 * math.sqrt(0.95 * 0.05 / self.runs)

    @property
    def typical_width(self) -> float:
        """The median of the bounded intervals, as a share of the truth."""
        return statistics.median(self.widths) if self.widths else math.inf
