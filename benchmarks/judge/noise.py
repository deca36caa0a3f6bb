"""What nights do when nothing changed: seeded noise whose truth is known.

Every draw has shape (series, nights), factors around a level of 1. Each noise is stationary by the standard of a suite:
nothing in it lasts that is as large as the least effect of 3 %, so that whatever rings in it rings for nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SYNTHETIC", "Noise", "ar1"]

Values = NDArray[np.float64]

_SIGMA = 0.02
"""Of most of them: what a well-kept server's figure moves from night to night."""
_SLOW_SHARE, _SLOW_BY = 0.3, 0.06
_SEASON_NIGHTS, _SEASON = 60, 0.01


@dataclass(frozen=True, slots=True)
class Noise:
    """``draw(rng, series, nights)`` gives the factors."""

    name: str
    draw: Callable[[np.random.Generator, int, int], Values]
    modes: tuple[float, float] = (0.0, 0.0)
    """How often a deployment is a slow one, and by how much on the logarithm: a re-run's deployments are so too."""


def ar1(innovations: Values, phi: float) -> Values:
    """Each row's x[t] = phi x[t-1] + sqrt(1 - phi^2) e[t]: the variance stays that of ``innovations``."""
    values = innovations.copy()
    for night in range(1, values.shape[1]):
        values[:, night] = phi * values[:, night - 1] + math.sqrt(1.0 - phi * phi) * innovations[:, night]
    return values


def _gaussian(rng: np.random.Generator, series: int, nights: int) -> Values:
    return np.exp(_SIGMA * rng.standard_normal((series, nights)))


def _heavy(rng: np.random.Generator, series: int, nights: int) -> Values:
    """Student's t of three degrees of freedom, whose variance is 3; a bad night is half remembered the next."""
    early = 20
    values = ar1(rng.standard_t(3, (series, early + nights)) / math.sqrt(3.0), 0.5)[:, early:]
    return np.exp(_SIGMA * values)


def _bimodal(rng: np.random.Generator, series: int, nights: int) -> Values:
    """Three nights in ten are slow, by twice the least effect: which a process gets is decided as it starts."""
    slow = rng.random((series, nights)) < _SLOW_SHARE
    return np.exp(_SLOW_BY * slow + _SIGMA / 2.0 * rng.standard_normal((series, nights)))


def _drifting(rng: np.random.Generator, series: int, nights: int) -> Values:
    """A season of 2 % from its lowest to its highest. It is bounded, so it never is 3 % away from where it was."""
    phase = rng.random((series, 1)) * 2.0 * math.pi
    season = _SEASON * np.sin(2.0 * math.pi * np.arange(nights) / _SEASON_NIGHTS + phase)
    return np.exp(season + 0.75 * _SIGMA * rng.standard_normal((series, nights)))


SYNTHETIC = (
    Noise("Gaussian, 2 %", _gaussian),
    Noise("AR(1) 0.5 of t3, 2 %", _heavy),
    Noise("bimodal, 6 % apart", _bimodal, (_SLOW_SHARE, _SLOW_BY)),
    Noise("seasonal drift, 2 %", _drifting),
)
