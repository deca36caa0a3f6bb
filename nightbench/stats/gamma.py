"""Derivatives of log Gamma: what the logarithm of a variance estimate is on average, and how much it scatters."""

import math

__all__ = ["digamma", "trigamma", "trigamma_inverse"]

_LARGE = 10.0
"""Where the asymptotic series below are exact to 1e-13; smaller arguments climb there by the recurrence."""


def digamma(x: float) -> float:
    """d/dx log Gamma(x), x > 0: recurrence DLMF 5.5.2 and asymptotic series 5.11.2."""
    climb = 0.0
    while x < _LARGE:
        climb -= 1.0 / x
        x += 1.0
    square = 1.0 / (x * x)
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square * (1 / 132)))))
    return climb + math.log(x) - 0.5 / x - series


def trigamma(x: float) -> float:
    """d^2/dx^2 log Gamma(x), x > 0: recurrence DLMF 5.15.5 and asymptotic series 5.15.8."""
    climb = 0.0
    while x < _LARGE:
        climb += 1.0 / (x * x)
        x += 1.0
    square = 1.0 / (x * x)
    series = square * (1 / 6 - square * (1 / 30 - square * (1 / 42 - square * (1 / 30 - square * (5 / 66)))))
    return climb + 1.0 / x + 0.5 * square + series / x


def trigamma_inverse(y: float) -> float:
    """The x > 0 with trigamma(x) = y, for y > 0.

    Newton's method on 1 / trigamma, which is nearly linear and convex, so that it converges from below without
    overshooting: Smyth 2004, appendix.
    """
    if not 0.0 < y < math.inf:
        raise ValueError(f"trigamma takes the values above 0, not {y}")
    if y > 1e7:
        return 1.0 / math.sqrt(y)
    if y < 1e-6:
        return 1.0 / y
    x = 0.5 + 1.0 / y
    for _ in range(60):
        value = trigamma(x)
        step = value * (1.0 - value / y) / _tetragamma(x)
        x += step
        if -step < 1e-12 * x:
            break
    return x


def _tetragamma(x: float) -> float:
    """The derivative of `trigamma`; only steers Newton's steps."""
    climb = 0.0
    while x < _LARGE:
        climb -= 2.0 / x**3
        x += 1.0
    square = 1.0 / (x * x)
    return climb - square - square / x - square * square * (0.5 - square * (1 / 6 - square * (1 / 6)))
