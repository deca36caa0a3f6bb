"""The few distributions the intervals need, so that scipy is not a dependency of a measurement."""

import math
from collections.abc import Callable
from statistics import NormalDist

__all__ = ["normal_quantile", "order_rank", "poisson_interval", "regularized_beta", "student_t_quantile"]

_NORMAL = NormalDist()
_TINY = 1e-300
_EPSILON = 1e-15
_AS_GOOD_AS_NORMAL = 1e8
"""Degrees of freedom from which Student's t differs from the normal by less than 1e-8."""


def normal_quantile(p: float) -> float:
    """The value a standard normal variable stays below with probability ``p``, 0 < p < 1."""
    return _NORMAL.inv_cdf(p)


def regularized_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the distribution function of Beta(a, b) at ``x``; a, b > 0.

    The continued fraction DLMF 8.17.22, evaluated by Lentz's method; it converges in about
    sqrt(max(a, b)) steps below the mean, so the upper half goes through I_x(a, b) = 1 - I_{1-x}(b, a).
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - regularized_beta(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _beta_fraction(x, a, b) / a


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Lentz's method, modified (Thompson & Barnett, J. Comput. Phys. 64, 1986): no partial result is ever zero."""
    denominator = 1.0 / (1.0 - (a + b) * x / (a + 1.0) or _TINY)
    numerator, value = 1.0, denominator
    for m in range(1, 200 + 10 * math.isqrt(math.ceil(max(a, b)))):
        k = a + 2 * m
        even = m * (b - m) * x / ((k - 1.0) * k)
        denominator = 1.0 / (1.0 + even * denominator or _TINY)
        numerator = 1.0 + even / numerator or _TINY
        value *= numerator * denominator
        odd = -(a + m) * (a + b + m) * x / (k * (k + 1.0))
        denominator = 1.0 / (1.0 + odd * denominator or _TINY)
        numerator = 1.0 + odd / numerator or _TINY
        step = numerator * denominator
        value *= step
        if abs(step - 1.0) < _EPSILON:
            break
    return value


def student_t_quantile(p: float, dof: float) -> float:
    """The value Student's t with ``dof`` > 0 degrees of freedom (any real) stays below with probability ``p``.

    Inverts P(T > t) = I_{dof/(dof+t^2)}(dof/2, 1/2) / 2 (DLMF 8.17; Abramowitz & Stegun 26.7.1).
    """
    if not (0.0 < p < 1.0 and dof > 0.0):
        raise ValueError(f"p must lie inside (0, 1) and dof above 0, not {p} and {dof}")
    if p < 0.5:
        return -student_t_quantile(1.0 - p, dof)
    z = normal_quantile(p)
    if p == 0.5 or dof > _AS_GOOD_AS_NORMAL:
        return z
    tail = 1.0 - p

    def excess(t: float) -> float:
        square = t * t
        if square < dof:  # dof / (dof + t^2) would be too near 1 to keep its digits
            return 0.5 - 0.5 * regularized_beta(square / (dof + square), 0.5, dof / 2.0) - tail
        return 0.5 * regularized_beta(dof / (dof + square), dof / 2.0, 0.5) - tail

    high = max(1.0, 2.0 * z)
    while excess(high) > 0.0:
        high *= 2.0
    density = math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
    return _root_of_decreasing(excess, 0.0, high, z + (z**3 + z) / (4.0 * dof), -density)


def order_rank(size: float, q: float, p: float) -> float:
    """The rank r, fractional, for which the r-th of ``size`` ordered values lies below the q-quantile
    with probability ``p``.

    For whole ranks P(X_(r) <= x_q) = P(Binomial(size, q) >= r) = I_q(r, size - r + 1) exactly, whatever the
    (continuous) distribution. Real ranks, read by interpolating between neighbours, take away most of the
    conservatism of whole ones: Hettmansperger & Sheather 1986; Beran & Hall, "Interpolated nonparametric
    prediction intervals and confidence intervals", JRSS B 55 (1993). ``size`` may be an effective size.
    The result lies inside (0, size + 1); a rank below 1 or above ``size`` means that no value will do.
    """

    def excess(rank: float) -> float:
        return regularized_beta(q, rank, size + 1.0 - rank) - p

    z = normal_quantile(p)
    sigma = math.sqrt(size * q * (1.0 - q))
    guess = (size + 1.0) * q - z * sigma + (z * z - 1.0) * (1.0 - 2.0 * q) / 6.0
    density = math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
    return _root_of_decreasing(excess, 0.0, size + 1.0, guess, -density / sigma, tolerance=1e-9)


def poisson_interval(count: int, confidence: float) -> tuple[float, float]:
    """The exact (Garwood 1936) interval for the mean of a Poisson variable that came out as ``count``.

    Sums ``count`` terms a step: meant for small counts.
    """
    tail = (1.0 - confidence) / 2.0

    def at_most(k: int, mean: float) -> float:
        term = total = math.exp(-mean)
        for i in range(1, k + 1):
            term *= mean / i
            total += term
        return total

    far = count + 10.0 * math.sqrt(count + 1.0) + 20.0
    high = _root_of_decreasing(lambda mean: at_most(count, mean) - tail, 0.0, far, count + 1.0, -0.1)
    if count == 0:
        return 0.0, high
    low = _root_of_decreasing(lambda mean: at_most(count - 1, mean) - 1.0 + tail, 0.0, float(count), count / 2.0, -0.1)
    return low, high


def _root_of_decreasing(
    function: Callable[[float], float],
    low: float,
    high: float,
    guess: float,
    slope: float,
    tolerance: float = 1e-11,
) -> float:
    """Where a falling function with a root strictly inside (low, high) is zero; the ends are never asked for.

    Steps from ``guess`` by Newton's rule with the ``slope`` given, half as far again each time, until the root is
    bracketed; then false position with Anderson and Bjorck's weights (BIT 13, 1973), which cannot leave the bracket.
    """
    a = guess if low < guess < high else 0.5 * (low + high)
    at_a = function(a)
    step = -1.5 * at_a / slope
    b, at_b = a, at_a
    while at_a * at_b > 0.0:
        a, at_a = b, at_b
        b += step
        if not low < b < high:
            b = 0.5 * (a + (high if step > 0.0 else low))
        at_b = function(b)
        step *= 2.0
    for _ in range(100):
        if at_a == 0.0 or at_b == 0.0:
            break
        x = b - at_b * (b - a) / (at_b - at_a)
        at_x = function(x)
        if abs(x - b) <= tolerance * max(1.0, abs(x)):
            return x
        if at_x * at_b < 0.0:
            a, at_a = b, at_b
        else:
            weight = 1.0 - at_x / at_b
            at_a *= weight if weight > 0.0 else 0.5
        b, at_b = x, at_x
    return a if at_a == 0.0 else b
