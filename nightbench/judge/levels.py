"""Where a series stands and how it scatters, on logarithms: robust against wild nights, honest about dependent ones."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.stats.distributions import student_t_quantile

__all__ = ["Scatter", "centre", "estimate", "scatter"]

Logs = NDArray[np.float64]

_WINSORISED = 0.05
"""At either end. A second mode of one night in ten or more is noise and counts in full, one wild night does not."""
_TRIMMED = 0.2
_MOST_MEMORY = 0.4
"""What goes on for longer is no noise about a level, it is a level that moves."""
_NORMAL_HALF = 1.19
"""So many standard deviations long is the shortest half of 50 normal values, by simulation (the shorth: Andrews et al.,
"Robust Estimates of Location", 1972; Grübel, Annals of Statistics 16, 1988). Of more values it comes near 1.349."""
_ROUNDING = 1e-12
"""Of logarithms: what scatters less does not scatter."""
_TRIM_PRICE = 1.1
"""How much wider the interval of a trimmed mean is than that of a mean, for normal values (Wilcox, "Introduction to
Robust Estimation and Hypothesis Testing", 2012, 3.3: 5 to 12 % by size)."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """How the nights of one level differ."""

    nights: int
    scale: float
    """Like a standard deviation."""
    bulk: float
    """The same of the half of the nights that lie closest together: of one of two modes, and without outliers."""
    memory: float
    """How much of a night's deviation is left the next night: an AR(1) process' coefficient, 0 to `_MOST_MEMORY`."""

    def dependence(self, nights: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """What the variance of the mean of so many nights is, over what it were of independent ones (Priestley,
        "Spectral Analysis and Time Series", 1981, 5.3.2)."""
        rho, k = self.memory, np.asarray(nights, dtype=np.float64)
        return (1.0 + rho) / (1.0 - rho) - 2.0 * rho * (1.0 - rho**k) / (k * (1.0 - rho) ** 2)

    def error(self, nights: int) -> float:
        """Standard error of the centre of so many nights."""
        return _TRIM_PRICE * self.scale * math.sqrt(float(self.dependence(nights)) / nights)


def scatter(logs: Logs) -> Scatter:
    """Of four nights or more, oldest first.

    The scale is that of values winsorised by a *share* of them, made good by the count that is left (Yuen, Biometrika
    61, 1974): cut at multiples of a median deviation instead, the rarer mode of a bimodal series would be thrown away
    as outliers. The autocorrelation is of the winsorised values, its bias of (1 + 3 rho) / n put back (Kendall,
    Biometrika 41, 1954).
    """
    n = len(logs)
    ordered = np.sort(logs)
    cut = min(max(1, round(_WINSORISED * n)), (n - 2) // 2)
    centred = np.clip(logs, ordered[cut], ordered[-cut - 1])
    centred = centred - centred.mean()
    squares = float(centred @ centred)
    scale = math.sqrt(squares / (n - 1 - 2 * cut))
    shortest = float((ordered[n // 2 :] - ordered[: n - n // 2]).min())
    rho = float(centred[1:] @ centred[:-1]) / squares if scale > _ROUNDING else 0.0
    memory = min(_MOST_MEMORY, max(0.0, rho + (1.0 + 3.0 * rho) / n))
    return Scatter(n, scale, min(scale, shortest / _NORMAL_HALF), memory)


def centre(logs: Logs) -> float:
    """The mean without the outer fifths (Tukey & McLaughlin, Sankhya 25, 1963); the median of up to four values."""
    n = len(logs)
    cut = max(int(_TRIMMED * n), (n - 1) // 2 if n <= 4 else 1)
    return float(np.sort(logs)[cut : n - cut].mean())


def estimate(logs: Logs, noise: Scatter) -> Estimate:
    """The level of these nights, in the series' own unit, with a 95 % interval from the noise."""
    middle = centre(logs)
    half = _t95(noise.nights - 1) * noise.error(len(logs))
    return Estimate(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


@lru_cache(maxsize=256)
def _t95(dof: int) -> float:
    return student_t_quantile(0.975, float(dof))
