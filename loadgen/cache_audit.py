"""Does a cache answer for the server? The same input again and again, measured against inputs never sent before.

After the caching audit of MLPerf Inference (its compliance test TEST04), with an interval where that has a threshold
alone.

The figure compared is the median *service* time. A cache that answers a repeated input answers nearly all of its
requests, so the median moves by the whole of what the cache saves, while one slow request in a hundred does not touch
it. Throughput would not do: an open loop's is what was offered, and a closed loop's is bounded by the client. Nor
latency, which holds the client's own delays.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nightbench.figures import Estimate
from nightbench.stats.distributions import student_t_quantile

__all__ = ["ORDER", "CacheAudit", "CacheVerdict", "audit"]

ORDER = (True, False, False, True, False, True, True, False)
"""Whether each run's inputs are distinct: ABBA, then BAAB. A machine that slows down, steadily or ever faster, slows
both kinds alike: this is the Thue-Morse order, which balances the linear and the quadratic part of a drift."""
MARGIN = 0.1
"""Differences below this share are none: a repeated input is warm in the processor's own caches, which is no fraud."""
_CONFIDENCE = 0.95


class CacheVerdict(StrEnum):
    """What the audit found."""

    NONE_SEEN = "none seen"
    CACHE_ANSWERS = "cache answers"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class CacheAudit:
    """The verdict and what it rests on."""

    verdict: CacheVerdict
    ratio: Estimate | None
    """Median service time with one input, over that with distinct ones; below 1 the repeated input is faster."""
    detail: str
    """Why, in a sentence."""
    distinct: tuple[Estimate, ...]
    repeated: tuple[Estimate, ...]
    """Each run's own figure, in order."""


def audit(run: Callable[[bool], Estimate]) -> CacheAudit:
    """Ask ``run`` eight times, in `ORDER`, for the median service time of distinct inputs (true) or of one input.

    No two runs with distinct inputs may share an input, nor may one of them send any input twice: a pool that is gone
    through again has filled a cache as large as itself, and nothing would be seen. What ``run`` raises passes through.
    """
    runs = [(distinct, run(distinct)) for distinct in ORDER]
    distinct = tuple(each for kind, each in runs if kind)
    repeated = tuple(each for kind, each in runs if not kind)
    if not all(0.0 < each.value < math.inf for _, each in runs):
        return CacheAudit(
            CacheVerdict.CANNOT_TELL,
            None,
            "a run had no median service time: too few of its requests succeeded; look at its failures first",
            distinct,
            repeated,
        )
    ratio = _ratio([each for _, each in runs])
    verdict, detail = _judged(ratio)
    return CacheAudit(verdict, ratio, detail, distinct, repeated)


def _ratio(runs: list[Estimate]) -> Estimate:
    """Repeated over distinct: least squares of the logarithms on the kind of input and the time of the run.

    The interval is Student's t on what the line leaves over, which is how much runs differ that should not; it is
    never narrower than the runs' own intervals imply, as in `nightbench.stats.combine`.
    """
    logs = np.log([each.value for each in runs])
    kind = np.array([0.0 if distinct else 1.0 for distinct in ORDER])
    design = np.column_stack([np.ones(len(runs)), np.linspace(-1.0, 1.0, len(runs)), kind])
    fitted, *_ = np.linalg.lstsq(design, logs)
    left = logs - design @ fitted
    dof = len(runs) - design.shape[1]
    inverse = np.linalg.inv(design.T @ design)
    between = student_t_quantile(0.5 + _CONFIDENCE / 2.0, dof) * math.sqrt(float(left @ left) / dof * inverse[2, 2])
    # The effect is a weighted sum of the runs' logarithms; so is the square of its half-width of their squares.
    weights = (inverse @ design.T)[2]
    within = math.sqrt(sum((weight * _half_width(each)) ** 2 for weight, each in zip(weights, runs, strict=True)))
    effect, half = float(fitted[2]), max(between, within)
    return Estimate(math.exp(effect), math.exp(effect - half), math.exp(effect + half))


def _half_width(estimate: Estimate) -> float:
    """Of the logarithm's interval; 0 where the run gave none, the wider side where it gave both."""
    sides = [0.0]
    if estimate.low is not None and estimate.low > 0.0:
        sides.append(math.log(estimate.value / estimate.low))
    if estimate.high is not None:
        sides.append(math.log(estimate.high / estimate.value))
    return max(sides)


def _judged(ratio: Estimate) -> tuple[CacheVerdict, str]:
    """The interval must lie wholly on one side of the margin.

    That is an equivalence test (Schuirmann, "A comparison of the two one-sided tests procedure", 1987): no difference
    is shown by an interval too narrow for one, never by a wide one that happens to hold 1.
    """
    low, high = ratio.low or 0.0, ratio.high or math.inf
    found = f"one input repeated takes {ratio.value:.2f} times as long as distinct ones ({low:.2f} to {high:.2f})"
    bound = 1.0 - MARGIN
    if high < bound:
        return CacheVerdict.CACHE_ANSWERS, f"{found}: less than {bound:.2f}, so few inputs flatter the server"
    if low > bound:
        return CacheVerdict.NONE_SEEN, f"{found}: not less than {bound:.2f}"
    return (
        CacheVerdict.CANNOT_TELL,
        f"{found}, on both sides of {bound:.2f}: measure each run for longer, or on a quieter machine",
    )
