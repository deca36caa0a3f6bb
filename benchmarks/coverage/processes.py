"""Processes whose values have a known distribution, hence known quantiles.

Correlated ones are monotone transforms of a Gaussian AR(1), switch regimes as a Markov chain, or queue.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PROCESSES", "Draw", "Process", "bimodal", "gaussian_ar1", "lognormal", "pareto", "queue"]

Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]

_NORMAL = statistics.NormalDist()
_MODES = (1.0, 3.0)
_MODE_SIGMA = 0.25
_SLOW_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Process:
    """``draw(rng, runs, n)`` gives independent rows of n values each; ``truth(q)`` is their q-quantile."""

    name: str
    draw: Draw
    truth: Callable[[float], float]


def gaussian_ar1(rng: np.random.Generator, runs: int, n: int, phi: float) -> NDArray[np.float64]:
    """Standard normal marginals with autocorrelation phi^k, started in the stationary law."""
    values = rng.standard_normal((n, runs))
    innovation = math.sqrt(1.0 - phi * phi)
    for i in range(1, n):
        values[i] = phi * values[i - 1] + innovation * values[i]
    return np.ascontiguousarray(values.T)


def lognormal(phi: float) -> Process:
    def draw(rng: np.random.Generator, runs: int, n: int) -> NDArray[np.float64]:
        return np.exp(0.5 * (gaussian_ar1(rng, runs, n, phi) if phi else rng.standard_normal((runs, n))))

    name = f"lognormal AR(1) phi={phi:g}" if phi else "lognormal i.i.d."
    return Process(name, draw, lambda q: math.exp(0.5 * _NORMAL.inv_cdf(q)))


def pareto() -> Process:
    def draw(rng: np.random.Generator, runs: int, n: int) -> NDArray[np.float64]:
        return rng.random((runs, n)) ** (-1.0 / 2.5)

    return Process("Pareto alpha=2.5", draw, lambda q: (1.0 - q) ** (-1.0 / 2.5))


def bimodal(stay: float) -> Process:
    """Fast 7 times in 10, slow otherwise; ``stay`` is the autocorrelation of the regime from value to value."""

    def draw(rng: np.random.Generator, runs: int, n: int) -> NDArray[np.float64]:
        fresh = rng.random((n, runs)) < _SLOW_SHARE
        keep = rng.random((n, runs)) < stay
        slow = fresh
        for i in range(1, n if stay else 0):
            slow[i] = np.where(keep[i], slow[i - 1], fresh[i])
        return np.where(slow.T, _MODES[1], _MODES[0]) + _MODE_SIGMA * rng.standard_normal((runs, n))

    def truth(q: float) -> float:
        low, high = 0.0, 10.0
        for _ in range(80):
            x = 0.5 * (low + high)
            fast, slow = (_NORMAL.cdf((x - mode) / _MODE_SIGMA) for mode in _MODES)
            low, high = (x, high) if (1 - _SLOW_SHARE) * fast + _SLOW_SHARE * slow < q else (low, x)
        return low

    return Process(f"bimodal, regime phi={stay:g}" if stay else "bimodal i.i.d.", draw, truth)


def queue(load: float) -> Process:
    """Latencies of M/M/1 in order of arrival, exponential in law; correlated over some 1 / (1 - load)^2 of them."""

    def draw(rng: np.random.Generator, runs: int, n: int) -> NDArray[np.float64]:
        early = round(100 / (1.0 - load) ** 2)
        rows = np.empty((runs, n))
        for row in rows:
            service = rng.exponential(1.0, early + n)
            steps = service[:-1] - rng.exponential(1.0 / load, early + n - 1)
            walk = np.concatenate([[0.0], np.cumsum(steps)])
            row[:] = (walk - np.minimum.accumulate(walk) + service)[early:]  # Lindley 1952
        return rows

    return Process(f"M/M/1 at {load:g}", draw, lambda q: -math.log(1.0 - q) / (1.0 - load))


PROCESSES = (
    lognormal(0.0),
    lognormal(0.5),
    lognormal(0.8),
    bimodal(0.0),
    bimodal(0.8),
    pareto(),
)
