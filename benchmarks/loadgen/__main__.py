"""What a request costs each client, and how punctual the engine is: `python -m benchmarks.loadgen`.

Every client sends the same bodies to the same server on the same machine, one after another, in several rounds whose
order turns, so that what the machine does meanwhile falls on all of them. Where there are two processors, the server
has one and the client another. The figures are processor time, which a busy neighbour disturbs less than speed.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.loadgen.clients import CLIENTS, CONCURRENCY, Client, Figures
from benchmarks.loadgen.ours import Bench
from benchmarks.loadgen.server import serving
from loadgen.job import Pacing
from nightbench.errors import NightbenchError
from nightbench.load import OpenLoop
from nightbench.server import Protocol

_BODIES = (100, 602_112)
"""A tiny request, and an image of 224 x 224 x 3 floats."""
_RATES = (2_000.0, 10_000.0)
_BARS = {
    ("wrk", 100): 1.3,
    ("wrk", 602_112): 1.3,
    ("aiohttp", 100): 0.2,
    ("tritonclient.http", 100): 0.2,
    ("h2load", 100): 1.3,
    ("h2load", 602_112): 1.3,
    ("grpc.aio", 100): 0.25,
}
"""The engine's processor time a request may be at most this multiple of theirs, with that body."""

Runs = dict[tuple[str, int, str], list[Figures]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loadgen", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times each client runs (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (default: 1)")
    parser.add_argument("--only", default="", help="clients whose name contains this, beside the engine")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    server_cpus, client_cpus = ((cpus[0],), (cpus[-1],)) if len(cpus) > 1 else (None, None)
    began = time.monotonic()
    for line in _machine(server_cpus, client_cpus):
        print(line)
    with (
        tempfile.TemporaryDirectory(prefix="nightbench-bench-") as folder,
        serving(Path(folder), server_cpus) as port,
    ):
        bench = Bench(port, client_cpus, Path(folder))
        present = []
        for client in CLIENTS:
            if missing := client.missing():
                print(f"absent: {client.name}: {missing}")
            elif options.only in client.name or client.name == "nightbench":
                present.append(client)
        _print_closed(_closed(bench, present, options.rounds, options.seconds))
        _print_open(bench, options.seconds * 3)
    print(f"\nload average at the end {_load()}; the whole took {time.monotonic() - began:.0f} s")


def _machine(server_cpus: tuple[int, ...] | None, client_cpus: tuple[int, ...] | None) -> Iterator[str]:
    git = shutil.which("git")
    commit = "unknown"
    if git:
        described = subprocess.run(
            (git, "describe", "--always", "--dirty"), capture_output=True, text=True, check=False
        )
        commit = described.stdout.strip() or commit
    python = platform.python_version()
    yield f"{_cpu()} x{os.cpu_count()}, Linux {platform.release()}, Python {python}, commit {commit}"
    yield f"server on processor {server_cpus}, client on {client_cpus}, concurrency {CONCURRENCY}"
    yield f"load average {_load()}"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _closed(bench: Bench, clients: Sequence[Client], rounds: int, seconds: float) -> Runs:
    runs: Runs = defaultdict(list)
    for number in range(rounds):
        turned = [*clients[number % len(clients) :], *clients[: number % len(clients)]]
        for body_bytes in _BODIES:
            for client in turned:
                try:
                    figures = client.run(bench, body_bytes, seconds)
                except RuntimeError as error:
                    print(f"{client.name}, {client.kind}, {body_bytes} bytes: no figure: {error}", file=sys.stderr)
                else:
                    runs[client.kind, body_bytes, client.name].append(figures)
    return runs


def _print_closed(runs: Runs) -> None:
    """The ratio is the median over rounds of the engine's cost to the client's cost in the same round."""
    print("\nClosed loop: processor time of the client a request (median, min-max), and what the engine takes of it")
    print(f"{'':10} {'body':>7}  {'client':22} {'µs/request':>20} {'requests/s':>11} {'engine/client':>22}  bar")
    for kind in dict.fromkeys(client.kind for client in CLIENTS):
        for body_bytes in _BODIES:
            ours = [run.cpu_us for run in runs[kind, body_bytes, "nightbench"]]
            for client in CLIENTS:
                found = runs.get((client.kind, body_bytes, client.name), [])
                if client.kind != kind or not found:
                    continue
                costs = [run.cpu_us for run in found]
                ratios = [mine / theirs for mine, theirs in zip(ours, costs, strict=False)]
                print(
                    f"{kind:10} {body_bytes:>7}  {client.name:22} {_spread(costs, 1):>20} "
                    f"{statistics.median(run.rps for run in found):>11,.0f} {_spread(ratios, 2):>22}  "
                    f"{_verdict(client.name, body_bytes, ratios)}"
                )


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _verdict(name: str, body_bytes: int, ratios: Sequence[float]) -> str:
    bar = _BARS.get((name, body_bytes))
    if bar is None:
        return ""
    return f"<= {bar:g}: {'met' if statistics.median(ratios) <= bar else 'MISSED'}"


def _print_open(bench: Bench, seconds: float) -> None:
    print("\nOpen loop, Poisson, 100 bytes over HTTP/1.1: how late requests are sent (µs), and what delays a moment")
    print(
        f"{'rate':>7} {'pacing':7} {'p50':>7} {'p99':>8} {'p99.9':>8} {'hiccups p99':>12} {'p99.9':>8} "
        f"{'sent/offered':>13} {'µs/request':>11} {'spun':>6}"
    )
    for rate in _RATES:
        for pacing in Pacing:
            result, samples = bench.measure(Protocol.RAW_HTTP, _BODIES[0], OpenLoop(rate), seconds, pacing)
            lag = np.quantile(samples.lag_ns, (0.5, 0.99, 0.999)) / 1e3
            hiccups = [result.hiccups_ns.get(name, np.nan) / 1e3 for name in ("p99", "p999")]
            run_ns = result.ended_ns - result.started_ns
            # Both over the same span: from the first arrival to the last.
            rate_kept = np.ptp(samples.intended_ns) / np.ptp(samples.sent_ns)
            cpu_us = result.client_cpu_ns / 1e3 / result.requests
            print(
                f"{rate:>7,.0f} {pacing:7} {lag[0]:>7.1f} {lag[1]:>8.1f} {lag[2]:>8.1f} "
                f"{hiccups[0]:>12.1f} {hiccups[1]:>8.1f} "
                f"{rate_kept:>13.4f} {cpu_us:>11.1f} {result.spin_ns / run_ns:>6.0%}"
            )


if __name__ == "__main__":
    try:
        main()
    except NightbenchError as error:
        sys.exit(str(error))
