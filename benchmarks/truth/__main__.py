"""How far from the truth each client is: `python -m benchmarks.truth`, as root, for it captures packets.

A server answers each request after a seeded, lognormally distributed delay; its p99 is four times its median, which
differs from round to round, from 3 to 6 ms: a client that reports whole milliseconds would be right by luck where the
truth lies on one, and half a millisecond off where it does not. While
one client after another keeps 16 requests in flight, tcpdump records the loopback interface. The truth of a run is its
own capture: from a request's last byte to its answer's last byte. The server's log, which does not know how long the
kernel took to wake it and to carry the answer, is printed beside it. Rounds turn the clients' order; a round in which
the kernel dropped a packet is void. Server and tcpdump share one processor, the client has another.
"""

import argparse
import math
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.loadgen.ours import Bench
from benchmarks.loadgen.peers import install
from benchmarks.machine import Cpus
from benchmarks.server import Delay, serving
from benchmarks.truth import pcap
from benchmarks.truth.capture import capturing
from benchmarks.truth.clients import CLIENTS, Claim
from benchmarks.truth.exchanges import exchanges
from nightbench.errors import NightbenchError

_RPS = 3_000.0
_MEDIANS_US = (3_000.0, 6_000.0)
"""Of the delays: the first round's, and what the rounds after the last would come to."""
_LEVELS = (0.5, 0.99)
_BARS = (2.0, 3.0)
"""Percent off the wire that the engine's p50 and p99 may be."""
_OURS = "nightbench"
_NEEDS: dict[str, Callable[[], str]] = {
    "wrk": lambda: "" if shutil.which("wrk") else "the program wrk is not installed",
    "perf_analyzer": lambda: install.why_not(install.perf_analyzer),
    "Locust": lambda: install.why_not(install.locust),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One client's claim, and p50 and p99 of the wire and of the server, in microseconds."""

    claim: Claim
    seen: int
    wire_us: NDArray[np.float64]
    served_us: NDArray[np.float64]

    @property
    def claimed_us(self) -> NDArray[np.float64]:
        return np.array((self.claim.p50_us, self.claim.p99_us))

    @property
    def off_wire(self) -> NDArray[np.float64]:
        """Percent, signed; of p50 and of p99."""
        return 100.0 * (self.claimed_us / self.wire_us - 1.0)

    @property
    def off_server(self) -> NDArray[np.float64]:
        return 100.0 * (self.claimed_us / self.served_us - 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times each client runs (default: 5)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run (default: 10)")
    options = parser.parse_args()
    cpus = Cpus.split()
    for line in machine.describe(cpus):
        print(line)
    names = []
    for name in CLIENTS:
        if missing := _NEEDS.get(name, str)():
            print(f"absent: {name}: {missing}")
        else:
            names.append(name)
    runs: dict[str, list[Run]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="nightbench-truth-") as folder:
        for number in range(options.rounds):
            turned = [*names[number % len(names) :], *names[: number % len(names)]]
            for name in turned:
                try:
                    delay = Delay(number, median_us=_median_us(number, options.rounds))
                    runs[name].append(_run(name, Path(folder), cpus, delay, options.seconds))
                except RuntimeError as error:
                    print(f"{name}, round {number + 1}: void: {error}", file=sys.stderr)
    _print(runs)
    print(f"\nload average at the end {machine.load_average()}")


def _median_us(number: int, rounds: int) -> float:
    """Evenly spaced by ratio, each round in the middle of its part."""
    first, last = _MEDIANS_US
    return first * math.pow(last / first, (number + 0.5) / rounds)


def _run(name: str, folder: Path, cpus: Cpus, delay: Delay, seconds: float) -> Run:
    with (
        serving(folder, cpus.server, delay) as server,
        capturing(folder / "capture", server.port, cpus.server) as capture,
    ):
        claim = CLIENTS[name](Bench(server, cpus.client, folder), seconds, _RPS)
    if capture.dropped:
        raise RuntimeError(f"the kernel dropped {capture.dropped} packets of the capture")
    wire_ns = exchanges(pcap.read(capture.data), server.port).service_ns
    return Run(
        claim=claim,
        seen=len(wire_ns),
        wire_us=np.quantile(wire_ns, _LEVELS) / 1e3,
        served_us=np.quantile(server.log().service_ns, _LEVELS) / 1e3,
    )


def _print(runs: dict[str, list[Run]]) -> None:
    print("\nService time as each client reports it; how far that is off the wire, median (least-most) of its rounds")
    print(
        f"{'client':26} {'requests':>9} {'on wire':>9}   {'p50 ms':>7} {'wire':>7} {'off the wire, %':>20} "
        f"{'server':>7}   {'p99 ms':>7} {'wire':>7} {'off the wire, %':>20} {'server':>7}"
    )
    for name in CLIENTS:
        if not runs[name]:
            continue
        claimed_count = round(statistics.median(run.claim.requests for run in runs[name]))
        seen_count = round(statistics.median(run.seen for run in runs[name]))
        cells = []
        for level in range(2):
            claimed = statistics.median(run.claimed_us[level] for run in runs[name]) / 1e3
            wire = statistics.median(run.wire_us[level] for run in runs[name]) / 1e3
            off_server = statistics.median(run.off_server[level] for run in runs[name])
            cells.append(f"{claimed:>7.3f} {wire:>7.3f} {_off(runs[name], level):>20} {off_server:>+6.1f}%")
        print(f"{name:26} {claimed_count:>9} {seen_count:>9}   {'   '.join(cells)}")
    print()
    for level, label in enumerate(("p50", "p99")):
        for name in (name for name in CLIENTS if runs[name]):
            error = _error(runs[name], level)
            verdict = f", {machine.verdict(error, _BARS[level], ' %')}" if name.startswith(_OURS) else ""
            print(f"{name}: {label} off the wire, root mean square: {error:.1f} %{verdict}")
        others = {name: _error(runs[name], level) for name in CLIENTS if not name.startswith(_OURS) and runs[name]}
        if others and runs[_OURS]:
            best = min(others, key=lambda name: others[name])
            won = "met" if _error(runs[_OURS], level) < others[best] else "MISSED"
            print(f"{_OURS}: {label} nearer than the best other, {best} ({others[best]:.1f} %): {won}")


def _off(runs: Sequence[Run], level: int) -> str:
    values = [float(run.off_wire[level]) for run in runs]
    return f"{statistics.median(values):+.1f} ({min(values):+.1f}..{max(values):+.1f})"


def _error(runs: Sequence[Run], level: int) -> float:
    """Root mean square over the rounds: what one reading may be off by."""
    return math.sqrt(statistics.mean(float(run.off_wire[level]) ** 2 for run in runs))


if __name__ == "__main__":
    try:
        main()
    except NightbenchError as error:
        sys.exit(str(error))
