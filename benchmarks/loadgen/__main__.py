"""What a request costs each client, and how punctual the engine is: `python -m benchmarks.loadgen`.

Every client sends the same bodies to the same server on the same machine, one after another, in several rounds whose
order turns, so that what the machine does meanwhile falls on all of them. Where there are two processors, the server
has one and the client another. The figures are processor time, which a busy neighbour disturbs less than speed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.loadgen.clients import CLIENTS, Client
from benchmarks.loadgen.meter import Figures
from benchmarks.loadgen.ours import Bench
from benchmarks.loadgen.programs import CONCURRENCY
from benchmarks.machine import Cpus, spread
from benchmarks.server import serving
from loadgen.job import Pacing
from nightbench.errors import NightbenchError
from nightbench.load import OpenLoop
from nightbench.server import Protocol

_BODIES = (100, 602_112)
"""A tiny request, and an image of 224 x 224 x 3 floats."""
_RATES = (2_000.0, 10_000.0)
_BARS = {
    ("HTTP/1.1", "wrk", 100): 1.3,
    ("HTTP/1.1", "wrk", 602_112): 1.3,
    ("HTTP/1.1", "aiohttp", 100): 0.2,
    ("HTTP/1.1", "tritonclient.http", 100): 0.2,
    ("gRPC", "h2load", 100): 1.3,
    ("gRPC", "h2load", 602_112): 1.3,
    ("gRPC", "grpc.aio", 100): 0.25,
    ("gRPC", "grpc.aio", 602_112): 0.25,
    ("gRPC", "perf_analyzer", 100): 0.5,
    ("gRPC", "perf_analyzer", 602_112): 0.5,
    ("gRPC", "perf_analyzer --async", 100): 0.5,
    ("gRPC", "perf_analyzer --async", 602_112): 0.5,
}
"""The engine's processor time a request may be at most this multiple of theirs, with that body."""

Runs = dict[tuple[str, int, str], dict[int, Figures]]
"""Of a kind, a body and a client: what each round gave."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loadgen", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times each client runs (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (default: 1)")
    parser.add_argument("--only", default="", help="clients whose name contains this, beside the engine")
    options = parser.parse_args()
    cpus = Cpus.split()
    began = time.monotonic()
    for line in machine.describe(cpus):
        print(line)
    print(f"concurrency {CONCURRENCY}")
    with (
        tempfile.TemporaryDirectory(prefix="nightbench-bench-") as folder,
        serving(Path(folder), cpus.server) as server,
    ):
        bench = Bench(server, cpus.client, Path(folder))
        present = []
        for client in CLIENTS:
            if missing := client.missing():
                print(f"absent: {client.name}: {missing}")
            elif options.only in client.name or client.name == "nightbench":
                present.append(client)
        _print_closed(_closed(bench, present, options.rounds, options.seconds))
        _print_open(bench, options.seconds * 3)
    print(f"\nload average at the end {machine.load_average()}; the whole took {time.monotonic() - began:.0f} s")


def _closed(bench: Bench, clients: Sequence[Client], rounds: int, seconds: float) -> Runs:
    runs: Runs = defaultdict(dict)
    for number in range(rounds):
        turned = [*clients[number % len(clients) :], *clients[: number % len(clients)]]
        for body_bytes in _BODIES:
            for client in turned:
                try:
                    figures = client.run(bench, body_bytes, seconds)
                except RuntimeError as error:
                    print(f"{client.name}, {client.kind}, {body_bytes} bytes: no figure: {error}", file=sys.stderr)
                else:
                    runs[client.kind, body_bytes, client.name][number] = figures
    return runs


def _print_closed(runs: Runs) -> None:
    """The ratio is the median over rounds of the engine's cost to the client's cost in the same round."""
    print("\nClosed loop: processor time of the client a request (median, min-max), and what the engine takes of it")
    print(f"{'':10} {'body':>7}  {'client':22} {'µs/request':>20} {'requests/s':>11} {'engine/client':>22}  bar")
    for kind in dict.fromkeys(client.kind for client in CLIENTS):
        for body_bytes in _BODIES:
            ours = runs[kind, body_bytes, "nightbench"]
            for client in CLIENTS:
                found = runs.get((client.kind, body_bytes, client.name), {})
                if client.kind != kind or not found:
                    continue
                costs = [run.cpu_us for run in found.values()]
                ratios = [ours[number].cpu_us / run.cpu_us for number, run in found.items() if number in ours]
                print(
                    f"{kind:10} {body_bytes:>7}  {client.name:22} {spread(costs, 1):>20} "
                    f"{statistics.median(run.rps for run in found.values()):>11,.0f} "
                    f"{spread(ratios, 2):>22}  {_verdict(kind, client.name, body_bytes, ratios)}"
                )


def _verdict(kind: str, name: str, body_bytes: int, ratios: Sequence[float]) -> str:
    bar = _BARS.get((kind, name, body_bytes))
    return "" if bar is None or not ratios else machine.verdict(statistics.median(ratios), bar)


def _print_open(bench: Bench, seconds: float) -> None:
    print("\nOpen loop, Poisson, 100 bytes over HTTP/1.1: how late requests are sent (µs), and what delays a moment")
    print(
        f"{'rate':>7} {'pacing':7} {'p50':>7} {'p99':>8} {'p99.9':>8} {'hiccups p99':>12} {'p99.9':>8} "
        f"{'sent/offered':>13} {'µs/request':>11} {'spun':>6}  bar"
    )
    for rate in _RATES:
        for pacing in Pacing:
            job = bench.job(Protocol.RAW_HTTP, _BODIES[0], OpenLoop(rate), seconds)
            result, samples = bench.measure(replace(job, pacing=pacing))
            lag = np.quantile(samples.lag_ns, (0.5, 0.99, 0.999)) / 1e3
            hiccups = [result.hiccups_ns.get(name, np.nan) / 1e3 for name in ("p99", "p999")]
            run_ns = result.ended_ns - result.started_ns
            # Both over the same span: from the first arrival to the last.
            rate_kept = np.ptp(samples.intended_ns) / np.ptp(samples.sent_ns)
            cpu_us = result.client_cpu_ns / 1e3 / result.requests
            print(
                f"{rate:>7,.0f} {pacing:7} {lag[0]:>7.1f} {lag[1]:>8.1f} {lag[2]:>8.1f} "
                f"{hiccups[0]:>12.1f} {hiccups[1]:>8.1f} "
                f"{rate_kept:>13.4f} {cpu_us:>11.1f} {result.spin_ns / run_ns:>6.0%}  "
                f"{_punctual(pacing, lag.tolist(), hiccups[1], rate_kept)}"
            )


def _punctual(pacing: Pacing, lag_us: Sequence[float], hiccup_us: float, rate_kept: float) -> str:
    """What the engine is held to: of a spinning one, p99.9 no more than 100 µs above the machine's own."""
    p50, p99, p999 = lag_us
    bars = {"rate within 0.1 %": abs(rate_kept - 1.0) <= 0.001}
    if pacing is Pacing.SPIN:
        bars |= {"p50 <= 5": p50 <= 5.0, "p99 <= 50": p99 <= 50.0, "p99.9": p999 <= hiccup_us + 100.0}
    else:
        bars |= {"p99 <= 150": p99 <= 150.0}
    missed = [bar for bar, met in bars.items() if not met]
    return f"MISSED: {', '.join(missed)}" if missed else "met"


if __name__ == "__main__":
    try:
        main()
    except NightbenchError as error:
        sys.exit(str(error))
