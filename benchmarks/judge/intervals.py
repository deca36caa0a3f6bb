"""How far a counted share may be off."""

import math
from dataclasses import dataclass

__all__ = ["Share"]

_Z = 1.96


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``total``."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson's score interval (JASA 22, 1927): right for shares near 0 and 1 too, and never outside."""
        if not self.total:
            return 0.0, 1.0
        n, p, z2 = self.total, self.value, _Z * _Z
        centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n)
        half = _Z / (1.0 + z2 / n) * math.sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def percent(self) -> str:
        low, high = self.interval
        return f"{self.value:.0%} ({low:.0%}-{high:.0%})" if self.total else "-"

    def per_1000(self) -> str:
        low, high = self.interval
        return f"{1e3 * self.value:.2f} ({1e3 * low:.2f}-{1e3 * high:.2f})" if self.total else "-"
