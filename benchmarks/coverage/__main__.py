"""Do nominal 95 % intervals cover the truth 95 times in 100? `python -m benchmarks.coverage` prints the table.

Every process below has a known distribution of its values, hence known quantiles; correlated ones are monotone
transforms of a Gaussian AR(1), switch regimes as a Markov chain, or queue. Nights of many cells have starts that
differ by known amounts. Rows that begin with "until" stop when the figures are known as well as was asked; runs that
never were are their refusals. Seeded: the same figures on every machine.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks.coverage.nights import NIGHTS, cover_nights
from benchmarks.coverage.processes import PROCESSES
from benchmarks.coverage.quantiles import cover_combined, cover_quantiles
from benchmarks.coverage.stopping import STOPPED, cover_stopping
from benchmarks.coverage.tally import Tally
from benchmarks.coverage.throughput import CLOSED, cover_closed, cover_throughput


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
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
