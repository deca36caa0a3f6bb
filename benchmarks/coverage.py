"""Do nominal 95 % intervals cover the truth 95 times in 100? `python -m benchmarks.coverage` prints the table.

Every process below has a known distribution of its values, hence known quantiles; correlated ones are monotone
transforms of a Gaussian AR(1), switch regimes as a Markov chain, or queue. Nights of many cells have starts that
differ by known amounts. Rows that begin with "until" stop when the figures are known as well as was asked; runs that
never were are their refusals. Seeded: the same figures on every machine.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Estimate
from nightbench.precision import Precision, first_look_s, next_look_s, reached
from nightbench.stats.combine import combine
from nightbench.stats.moderate import combine_all
from nightbench.stats.quantiles import NotEnough, quantile, quantiles
from nightbench.stats.rates import throughput
from nightbench.stats.warmup import warmup_cut

__all__ = [
    "CLOSED",
    "LEVELS",
    "NIGHTS",
    "PROCESSES",
    "STOPPED",
    "Night",
    "Process",
    "Stopping",
    "Tally",
    "cover_closed",
    "cover_combined",
    "cover_nights",
    "cover_quantiles",
    "cover_stopping",
    "cover_throughput",
]

Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]

LEVELS = (0.5, 0.95, 0.99)
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


@dataclass(slots=True)
class Tally:
    """How often an interval held the truth."""

    runs: int = 0
    covered: int = 0
    refused: int = 0
    unbounded: int = 0
    widths: list[float] = field(default_factory=list)

    def add(self, answer: Estimate | NotEnough, truth: float) -> None:
        """Count one answer. A bound of ``None`` holds everything on its side, and is counted apart."""
        if isinstance(answer, NotEnough):
            self.refused += 1
            return
        low = -math.inf if answer.low is None else answer.low
        high = math.inf if answer.high is None else answer.high
        self.runs += 1
        self.covered += low <= truth <= high
        if math.isinf(high - low):
            self.unbounded += 1
        else:
            self.widths.append((high - low) / truth)

    @property
    def coverage(self) -> float:
        return self.covered / self.runs

    @property
    def slack(self) -> float:
        """Two standard deviations of the observed coverage, were it truly 95 %."""
        return 2.0 * math.sqrt(0.95 * 0.05 / self.runs)

    @property
    def typical_width(self) -> float:
        """The median of the bounded intervals, as a share of the truth."""
        return statistics.median(self.widths) if self.widths else math.inf


def gaussian_ar1(rng: np.random.Generator, runs: int, n: int, phi: float) -> NDArray[np.float64]:
    """Standard normal marginals with autocorrelation phi^k, started in the stationary law."""
    values = rng.standard_normal((n, runs))
    innovation = math.sqrt(1.0 - phi * phi)
    for i in range(1, n):
        values[i] = phi * values[i - 1] + innovation * values[i]
    return np.ascontiguousarray(values.T)


def _lognormal(phi: float) -> Process:
    def draw(rng: np.random.Generator, runs: int, n: int) -> NDArray[np.float64]:
        return np.exp(0.5 * (gaussian_ar1(rng, runs, n, phi) if phi else rng.standard_normal((runs, n))))

    name = f"lognormal AR(1) phi={phi:g}" if phi else "lognormal i.i.d."
    return Process(name, draw, lambda q: math.exp(0.5 * _NORMAL.inv_cdf(q)))


def _pareto() -> Process:
    def draw(rng: np.random.Generator, runs: int, n: int) -> NDArray[np.float64]:
        return rng.random((runs, n)) ** (-1.0 / 2.5)

    return Process("Pareto alpha=2.5", draw, lambda q: (1.0 - q) ** (-1.0 / 2.5))


def _bimodal(stay: float) -> Process:
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


PROCESSES = (
    _lognormal(0.0),
    _lognormal(0.5),
    _lognormal(0.8),
    _bimodal(0.0),
    _bimodal(0.8),
    _pareto(),
)


def _queue(load: float) -> Process:
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


@dataclass(frozen=True, slots=True)
class Stopping:
    """Measuring 200 values a second until they are known as well as ``precision`` asks, or are ``longest``."""

    process: Process
    precision: Precision
    longest: int
    share: float = 1.0
    """Of the runs asked for: long ones take long."""


_DEFAULT = Precision()
STOPPED = (
    Stopping(_lognormal(0.0), _DEFAULT, 20_000),
    Stopping(_lognormal(0.0), Precision(0.05, None), 5_000),
    Stopping(_lognormal(0.8), _DEFAULT, 120_000, 0.2),
    Stopping(_bimodal(0.0), _DEFAULT, 20_000),
    Stopping(_bimodal(0.8), _DEFAULT, 100_000, 0.2),
    Stopping(_pareto(), _DEFAULT, 40_000),
    Stopping(_queue(0.5), Precision(0.05, 0.1), 150_000, 0.4),
    Stopping(_queue(0.5), Precision(None, 0.2), 150_000, 0.4),
    Stopping(_queue(0.8), Precision(0.05, 0.2), 600_000, 0.2),
)


def cover_stopping(case: Stopping, rng: np.random.Generator, runs: int) -> tuple[dict[float, Tally], float]:
    """Coverage of the final intervals by level, and after how many values measuring stopped: the median."""
    asked = {q: width for q, width in ((0.5, case.precision.p50), (0.99, case.precision.p99)) if width is not None}
    tallies = {q: Tally() for q in asked}
    ends = []
    # Sixteen rows at a time: a good part of the speed of all, and little of the memory.
    drawn = (
        values for done in range(0, runs, 16) for values in case.process.draw(rng, min(16, runs - done), case.longest)
    )
    for values in drawn:
        row = (values * 1e6).astype(np.int64)
        end = _stopped(row, case.precision)
        ends.append(end or len(row))
        found = quantiles(row[warmup_cut(row[:end]).index : end], asked) if end else {}
        for q in asked:
            tallies[q].add(found.get(q, NotEnough(0)), case.process.truth(q) * 1e6)
    return tallies, statistics.median(ends)


def _stopped(row: NDArray[np.int64], precision: Precision) -> int | None:
    at_s = first_look_s(0.0)
    while (end := round(200 * at_s)) <= len(row):
        if reached(row[:end], row[:0], precision):
            return end
        at_s = next_look_s(at_s, 0.0)
    return None


def cover_quantiles(process: Process, rng: np.random.Generator, runs: int, n: int) -> dict[float, Tally]:
    """Coverage of the within-deployment quantile intervals over ``runs`` independent runs of ``n`` values."""
    tallies = {q: Tally() for q in LEVELS}
    for row in process.draw(rng, runs, n):
        for q, answer in quantiles(row, LEVELS).items():
            tallies[q].add(answer, process.truth(q))
    return tallies


def cover_combined(
    process: Process, rng: np.random.Generator, runs: int, n: int, *, rounds: int, between: float, q: float
) -> Tally:
    """Coverage of the combined interval when each deployment is slower or faster as a whole by a lognormal
    factor of sigma ``between``."""
    tally = Tally()
    values = process.draw(rng, runs * rounds, n).reshape(runs, rounds, n)
    values *= np.exp(between * rng.standard_normal((runs, rounds, 1)))
    for deployments in values:
        answers = [quantile(row, q) for row in deployments]
        estimates = [answer for answer in answers if isinstance(answer, Estimate)]
        tally.add(combine(estimates) if len(estimates) == rounds else NotEnough(0), process.truth(q))
    return tally


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


@dataclass(frozen=True, slots=True)
class Night:
    """Cells whose starts differ: ``setups`` x ``loads`` of them, in ``rounds`` rounds.

    The factor between starts is lognormal, of sigma 3 % times a factor of its own for each setup: lognormal too,
    exp of a normal times log ``unlike``. The first setup of a ``wild`` night has ten times the 3 %. Loads of one
    setup have nine tenths of that variance in common where ``shared``, and nothing otherwise.
    """

    name: str
    setups: int = 18
    loads: int = 1
    unlike: float = 1.0
    wild: bool = False
    shared: bool = False

    def draw(self, rng: np.random.Generator, rounds: int) -> NDArray[np.float64]:
        """Measured values, shape (setups, loads, rounds); the truth is 1."""
        sigma = 0.03 * np.exp(math.log(self.unlike) * rng.standard_normal((self.setups, 1, 1)))
        if self.wild:
            sigma[0] = 0.3
        own = rng.standard_normal((self.setups, self.loads, rounds))
        if self.shared:
            common = rng.standard_normal((self.setups, 1, rounds))
            own = math.sqrt(0.9) * common + math.sqrt(0.1) * own
        return np.exp(sigma * own)


NIGHTS = tuple(
    replace(
        night,
        name=f"{night.name}, {setups} x {loads}{' shared' if loads > 1 else ''}",
        setups=setups,
        loads=loads,
        shared=loads > 1,
    )
    for setups, loads in ((18, 1), (6, 3))
    for night in (
        Night("equal"),
        Night("unlike x2", unlike=2.0),
        Night("unlike x4", unlike=4.0),
        Night("one wild", wild=True),
    )
)


def cover_nights(night: Night, rng: np.random.Generator, runs: int, rounds: int) -> tuple[Tally, Tally, Tally]:
    """Coverage of moderated intervals over ``runs`` nights: of ordinary cells, of wild ones, and of ordinary cells
    had each been left to itself."""
    usual, wild, alone = Tally(), Tally(), Tally()
    units = np.repeat(np.arange(night.setups), night.loads).tolist()
    for _ in range(runs):
        values = night.draw(rng, rounds).reshape(-1, rounds).tolist()
        groups = [[Estimate(value) for value in row] for row in values]
        for unit, group, found in zip(units, groups, combine_all(groups, units=units), strict=True):
            if night.wild and unit == 0:
                wild.add(found, 1.0)
            else:
                usual.add(found, 1.0)
                alone.add(combine(group), 1.0)
    return usual, wild, alone


def _stopping_rows(rng: np.random.Generator, runs: int) -> Iterator[tuple[str, Tally]]:
    for case in STOPPED:
        tallies, end = cover_stopping(case, rng, max(1, round(case.share * runs)))
        asked = ", ".join(
            f"{name} {width:.0%}"
            for name, width in (("p50", case.precision.p50), ("p99", case.precision.p99))
            if width is not None
        )
        for q, tally in tallies.items():
            yield f"until {asked}: {case.process.name}, n~{end:.0f}, p{100 * q:g}", tally


def _closed_rows(rng: np.random.Generator, runs: int) -> Iterator[tuple[str, Tally]]:
    for kind in CLOSED:
        for clients in (1, 4, 16, 64):
            for latencies in (2.5, 5.0, 20.0):
                tally = cover_closed(kind, rng, max(1, runs // 4), clients, latencies)
                yield f"throughput of c{clients}, {kind}, {latencies:g} latencies", tally


def _rows(rng: np.random.Generator, runs: int) -> Iterator[tuple[str, Tally]]:
    yield from _stopping_rows(rng, max(1, runs // 8))
    for process in PROCESSES:
        for n in (1000, 4000, 16000):
            for q, tally in cover_quantiles(process, rng, runs, n).items():
                yield f"{process.name}, n={n}, p{100 * q:g}", tally
    for process in (PROCESSES[0], PROCESSES[2], PROCESSES[5]):
        for rounds in (2, 3, 5, 10):
            for between in (0.0, 0.02, 0.1):
                tally = cover_combined(process, rng, runs, 2000, rounds=rounds, between=between, q=0.95)
                yield f"combined {process.name}, {rounds} rounds, between {between:g}, p95", tally
    for night in NIGHTS:
        for rounds in (2, 3):
            usual, wild, alone = cover_nights(night, rng, max(1, runs // 8), rounds)
            yield f"night {night.name}, {rounds} rounds", usual
            yield f"night {night.name}, {rounds} rounds, unmoderated", alone
            if night.wild:
                yield f"night {night.name}, {rounds} rounds, its wild cells", wild
    for n in (20, 50, 200, 1000, 20000):
        for phi, sigma in ((0.0, 0.0), (0.9, 0.3), (0.98, 0.3)):
            yield f"throughput, n={n}, rate phi={phi:g} sigma={sigma:g}", cover_throughput(rng, runs, n, phi, sigma)
    yield from _closed_rows(rng, runs)


def main() -> None:
    """Print one line a case: coverage, twice its standard deviation, refusals, median relative width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000, help="independent repetitions a case")
    parser.add_argument("--seed", type=int, default=20261120)
    asked = parser.parse_args()
    print(f"{'case':62} {'covered':>8} {'+-':>6} {'refused':>8} {'open':>6} {'width':>7}")
    for name, tally in _rows(np.random.default_rng(asked.seed), asked.runs):
        total = tally.runs + tally.refused
        if not tally.runs:
            print(f"{name:62} {'-':>8} {'-':>6} {1:8.1%}")
            continue
        print(
            f"{name:62} {tally.coverage:8.1%} {tally.slack:6.1%} {tally.refused / total:8.1%} "
            f"{tally.unbounded / tally.runs:6.1%} {tally.typical_width:7.1%}"
        )


if __name__ == "__main__":
    main()
