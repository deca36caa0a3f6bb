"""How often do alarms ring for nothing, and how soon for something? `python -m benchmarks.alarms` prints the tables.

Simulated queues for `nightbench.saturation`, simulated latencies for `nightbench.stats.modes`. Seeded: the same figures
on every machine.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage.processes import gaussian_ar1
from loadgen.arrivals import offsets_ns
from nightbench.load import Arrival, OpenLoop, Trace
from nightbench.saturation import over_saturated, steady
from nightbench.stats.modes import modes

__all__ = ["DURATION_S", "ONE_MODE", "SERVERS", "TWO_MODES", "Queue", "alarm_s", "named"]

DURATION_S = 60.0
_LOOK_S = 1.0
_BUSY_S = 20.0

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Queue:
    """One server, exponential service, and what happens to it; loads are shares of its capacity."""

    name: str
    load: float
    burstiness: float = 1.0
    slow_s: float = 0.0
    """So long from the start it is ``slow_by`` times as slow."""
    slow_by: float = 2.0
    stall_at_s: float = 20.0
    stall_s: float = 0.0
    lost: float = 0.0
    """The share of requests that are never answered, and take no time."""
    busy: float | None = None
    """The load in the first `_BUSY_S` of a recorded trace, whose mean is ``load``."""

    @property
    def keeps_up(self) -> bool:
        return self.load <= 1.0

    def draw(self, rate_rps: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When requests are due and when they are done, in nanoseconds from 0."""
        load = OpenLoop(rate_rps, Arrival.GAMMA, self.burstiness)
        due = self._recorded(offsets_ns(load, DURATION_S, seed).astype(np.float64) * 1e-9)
        random = np.random.default_rng([seed, 1])
        service = random.exponential(self.load / rate_rps, len(due))
        lost = random.random(len(due)) < self.lost
        service[lost] = 0.0
        work = np.cumsum(service)
        # In time that counts only what the server could work; Lindley's recursion in closed form.
        done = np.maximum.accumulate(self._worked(due) - work + service) + work
        done = np.where(lost, 10.0 * DURATION_S, self._clock(done))
        return (due * 1e9).astype(np.int64), (done * 1e9).astype(np.int64)

    @property
    def sent(self) -> OpenLoop:
        """The kind of load that it is; its rate is no matter."""
        return OpenLoop(1.0, Arrival.GAMMA) if self.busy is None else OpenLoop(1.0, Arrival.TRACE, trace=Trace("", ""))

    def _recorded(self, even_s: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.busy is None:
            return even_s
        # So much of all requests come in the busy spell.
        spell_s = self.busy / self.load * _BUSY_S
        return np.interp(even_s, (0.0, spell_s, DURATION_S), (0.0, _BUSY_S, DURATION_S))

    def _worked(self, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
        slow = np.minimum(at_s, self.slow_s) * (1.0 - 1.0 / self.slow_by)
        return at_s - slow - np.clip(at_s - self.stall_at_s, 0.0, self.stall_s)

    def _clock(self, worked_s: NDArray[np.float64]) -> NDArray[np.float64]:
        slow = np.minimum(worked_s * self.slow_by, self.slow_s)
        at = worked_s + slow * (1.0 - 1.0 / self.slow_by)
        return at + np.where(at > self.stall_at_s, self.stall_s, 0.0)


SERVERS = (
    Queue("load 0.8", 0.8),
    Queue("load 0.9", 0.9),
    Queue("load 0.95", 0.95),
    Queue("load 0.99", 0.99),
    Queue("load 0.9, bursty", 0.9, burstiness=0.25),
    Queue("load 0.9, very bursty", 0.9, burstiness=0.1),
    Queue("load 0.9, stalls 1 s", 0.9, stall_s=1.0),
    Queue("load 0.8, stalls 3 s", 0.8, stall_at_s=12.0, stall_s=3.0),
    Queue("load 0.9, 5 s half as fast", 0.9, slow_s=5.0),
    Queue("load 0.9, 8 s a quarter as fast", 0.9, slow_s=8.0, slow_by=4.0),
    Queue("load 0.7, loses 1 %", 0.7, lost=0.01),
    Queue("load 0.2, loses 5 %", 0.2, lost=0.05),
    Queue("trace, 0.7, first 20 s at 1.5", 0.7, busy=1.5),
    Queue("load 1.05", 1.05),
    Queue("load 1.1", 1.1),
    Queue("load 1.1, bursty", 1.1, burstiness=0.25),
    Queue("load 1.2", 1.2),
    Queue("load 1.5", 1.5),
    Queue("load 3", 3.0),
    Queue("load 10", 10.0),
)


def alarm_s(queue: Queue, rate_rps: float, seed: int) -> float | None:
    """When the alarm rings, looking once a second; ``None`` if it never does, or the load is not watched."""
    if not steady(queue.sent):
        return None
    due_ns, done_ns = queue.draw(rate_rps, seed)
    for now_s in np.arange(_LOOK_S, DURATION_S + _LOOK_S / 2, _LOOK_S).tolist():
        now_ns = round(now_s * 1e9)
        seen = int(np.searchsorted(due_ns, now_ns, side="right"))
        done = done_ns[:seen]
        if over_saturated(due_ns[:seen], np.where(done <= now_ns, done, 0), 0, now_ns) is not None:
            return float(now_s)
    return None


def _hump(sigma: float) -> Draw:
    return lambda rng, n: np.exp(sigma * rng.standard_normal(n))


def _correlated(phi: float) -> Draw:
    return lambda rng, n: np.exp(0.3 * gaussian_ar1(rng, 1, n, phi)[0])


def _constant_service(load: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        slack = np.cumsum(rng.exponential(1.0, n)) - load * np.arange(n)
        waited: NDArray[np.float64] = np.maximum.accumulate(slack) - slack + load
        return waited

    return draw


def _two(share: float, factor: float, sigma: float) -> Draw:
    return lambda rng, n: np.where(rng.random(n) < share, factor, 1.0) * np.exp(sigma * rng.standard_normal(n))


ONE_MODE: dict[str, Draw] = {
    "lognormal 0.05": _hump(0.05),
    "lognormal 0.5": _hump(0.5),
    "lognormal 1.5": _hump(1.5),
    "gamma 0.5": lambda rng, n: rng.gamma(0.5, 1.0, n) + 1e-6,
    "gamma 5": lambda rng, n: rng.gamma(5.0, 1.0, n),
    "Weibull 0.6": lambda rng, n: rng.weibull(0.6, n) + 1e-6,
    "Weibull 5": lambda rng, n: rng.weibull(5.0, n),
    "exponential": lambda rng, n: rng.exponential(1.0, n) + 1e-6,
    "Pareto": lambda rng, n: 1.0 + rng.pareto(2.5, n),
    "uniform": lambda rng, n: 1.0 + rng.random(n),
    "a floor and a tail": lambda rng, n: 10.0 + rng.exponential(0.5, n),
    "mixture, no valley": lambda rng, n: np.exp(0.3 * rng.standard_normal(n) + 0.6 * (rng.random(n) < 0.4)),
    "mixture of widths": lambda rng, n: np.exp(np.where(rng.random(n) < 0.5, 0.02, 1.0) * rng.standard_normal(n)),
    "whole ms, few": lambda rng, n: 1.0 + rng.poisson(3.0, n).astype(np.float64),
    "whole ms, many": lambda rng, n: np.ceil(20.0 * np.exp(0.3 * rng.standard_normal(n))),
    "AR(1) 0.5": _correlated(0.5),
    "AR(1) 0.9": _correlated(0.9),
    "AR(1) 0.995": _correlated(0.995),
    "drift": lambda rng, n: np.exp(0.05 * rng.standard_normal(n) + np.linspace(0.0, 1.0, n)),
    "M/D/1 at 0.5": _constant_service(0.5),
    "M/D/1 at 0.9": _constant_service(0.9),
}
TWO_MODES: dict[str, Draw] = {
    "30 % thrice as slow": _two(0.3, 3.0, 0.1),
    "8 % five times as slow": _two(0.08, 5.0, 0.2),
    "half 10 % slower": _two(0.5, 1.1, 0.015),
    "first 40 % slower by 20 %": lambda rng, n: (
        np.where(np.arange(n) < 0.4 * n, 1.2, 1.0) * np.exp(0.03 * rng.standard_normal(n))
    ),
    "runs of 100, half as slow again": lambda rng, n: (
        np.where(np.arange(n) // 100 % 3 == 0, 1.5, 1.0) * np.exp(0.05 * rng.standard_normal(n))
    ),
}


def named(draw: Draw, seeds: range, n: int) -> int:
    """In how many of the cells two modes are seen."""
    cells = ((draw(np.random.default_rng(seed), n) * 1e6).astype(np.int64) for seed in seeds)
    return sum(modes(cell) is not None for cell in cells)


def main() -> None:
    """Print how often and how soon servers are called over-saturated, and how often cells bimodal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="independent repetitions a case")
    runs = parser.parse_args().runs
    print(f"{'over-saturated':34} {'rps':>6} {'alarms':>8} {'median':>8}")
    for queue in SERVERS:
        for rate_rps in (100.0, 1000.0):
            rang = [found for seed in range(runs) if (found := alarm_s(queue, rate_rps, seed)) is not None]
            median = f"{np.median(rang):6.0f} s" if 2 * len(rang) > runs else f"{'-':>8}"
            print(f"{queue.name:34} {rate_rps:6.0f} {len(rang) / runs:8.1%} {median}")
    print(f"\n{'bimodal':34} {'n=300':>8} {'n=1000':>8} {'n=5000':>8}")
    for name, draw in (ONE_MODE | TWO_MODES).items():
        shares = [named(draw, range(runs), n) / runs for n in (300, 1000, 5000)]
        print(f"{name:34} {shares[0]:8.1%} {shares[1]:8.1%} {shares[2]:8.1%}")


if __name__ == "__main__":
    main()
