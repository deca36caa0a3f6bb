"""How much correlated values really say: the long-run variance of a stationary sequence."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LongRunVariance", "long_run_variance"]

_MOST_POINTS = 1 << 15
"""Longer sequences are first summed in blocks: the sum of all autocovariances, divided by the block's length,
is the same number, and a long cell costs no more than a short one."""


@dataclass(frozen=True, slots=True)
class LongRunVariance:
    """``variance`` is what var(mean) * n tends to; ``dof`` how well it is known, as degrees of freedom."""

    variance: float
    dof: float


def long_run_variance(values: NDArray[np.float64]) -> LongRunVariance:
    """Sum of the autocovariances at all lags, by Geyer's initial monotone sequence.

    Autocovariances are added in pairs of neighbouring lags for as long as the pairs are positive, each pair
    held no larger than the one before: Geyer, "Practical Markov Chain Monte Carlo", Statistical Science 7
    (1992), section 3.3. This chooses the bandwidth from the data, where batch means would need a batch length.
    Two corrections: the estimated mean takes away one part in n for every lag used, which is given back; and
    the lags used give the degrees of freedom, n / (2 M + 1) for a window of M lags (Priestley, "Spectral
    Analysis and Time Series", 1981, 6.2), by which an interval is to be widened.

    Negative correlation is not credited: the result is never below the plain variance.
    """
    block = math.ceil(len(values) / _MOST_POINTS)
    used = len(values) // block * block if block else 0
    sums = values[:used].reshape(-1, block).sum(axis=1) if block > 1 else values
    n = len(sums)
    if n < 4:
        return LongRunVariance(math.inf, 1.0)
    gamma = _autocovariances(sums - sums.mean())
    if gamma[0] <= 0.0:
        return LongRunVariance(0.0, math.inf)
    pairs = gamma[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    ended = np.flatnonzero(pairs <= 0.0)
    kept = np.minimum.accumulate(pairs[: ended[0] if len(ended) else len(pairs)])
    total = float(2.0 * kept.sum() - gamma[0])
    if total <= gamma[0]:
        return LongRunVariance(float(gamma[0]) * n / (n - 1) / block, n - 1.0)
    window = 4 * len(kept) - 1
    return LongRunVariance(total / (1.0 - min(0.9, window / n)) / block, max(1.0, n / window))


def _autocovariances(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """At lags 0 .. n-1, each divided by n; through the Fourier transform of the zero-padded sequence."""
    n = len(centred)
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    return np.fft.irfft(power, size)[:n] / n
