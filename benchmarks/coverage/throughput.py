"""Throughput of Poisson arrivals, and of closed loops whose answers come in different ways."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage.processes import gaussian_ar1
from benchmarks.coverage.tally import Tally
from nightbench.stats.rates import throughput

__all__ = ["CLOSED", "cover_closed", "cover_throughput"]


def cover_throughput(rng: np.random.Generator, runs: int, n: int, phi: float, sigma: float) -> Tally:
    """Coverage for Poisson arrivals, n on average, whose rate wanders as a lognormal AR(1) over 1000 slots."""
    tally, slots, slot_ns = Tally(), 1000, 1_000_000
    rate = np.exp(sigma * gaussian_ar1(rng, runs, slots, phi) - sigma * sigma / 2.0)
    counts = rng.poisson(rate * n / slots)
    for row in counts:
        starts = np.repeat(np.arange(slots) * slot_ns, row)
        done = starts + rng.integers(0, slot_ns, len(starts))
        tally.add(throughput(done, 0, slots * slot_ns), n / (slots * slot_ns * 1e-9))
    return tally


CLOSED: dict[str, Callable[[np.random.Generator, int, int], NDArray[np.float64]]] = {
    # Cycles, clients -> when their requests are done, in mean latencies.
    "exponential": lambda rng, cycles, clients: np.cumsum(rng.exponential(1.0, (cycles, clients)), axis=0),
    "lockstep": lambda rng, cycles, clients: (
        np.arange(cycles)[:, None] + rng.random() + rng.exponential(0.01, (cycles, clients))
    ),
    "lockstep, 20 % uneven": lambda rng, cycles, clients: (
        np.cumsum(np.exp(0.2 * rng.standard_normal(cycles) - 0.02))[:, None] + rng.exponential(0.01, (cycles, clients))
    ),
    "two batches": lambda rng, cycles, clients: (
        np.arange(cycles)[:, None]
        + rng.random()
        + np.arange(clients) % 2 / 2
        + rng.exponential(0.01, (cycles, clients))
    ),
    "Poisson bursts": lambda rng, cycles, clients: np.repeat(
        np.cumsum(rng.exponential(1.0, cycles))[:, None], clients, axis=1
    ),
}
"""Closed loops, by how their answers come."""


def cover_closed(kind: str, rng: np.random.Generator, runs: int, clients: int, latencies: float) -> Tally:
    """Coverage of the throughput of ``clients`` who wait one second on average, over ``latencies`` of those."""
    tally = Tally()
    for _ in range(runs):
        done = CLOSED[kind](rng, round(1.5 * latencies) + 20, clients)
        done_ns = (done.ravel() * 1e9).astype(np.int64)
        tally.add(throughput(done_ns, 3 * 10**9, round((3 + latencies) * 1e9), clients=clients), clients)
    return tally
