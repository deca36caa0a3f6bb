"""How long it takes to know p50 to 2 % and p99 to 10 % (95 %): `python -m benchmarks.precision`, as root.

A server answers after seeded, lognormally distributed delays of median 4 ms: independent ones, and ones that drift.
The engine measures until its intervals are that narrow; perf_analyzer until its own rule is content, whose windows
look at the average latency by default, and at p99 when told so. Times are of the whole process, start to figures.

The truth is a long run of the engine, by packet capture and not by any client: it is captured and read in pieces, so
that it fits into memory. Each repetition has a seed of its own, as a night has weather of its own.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.loadgen import programs
from benchmarks.loadgen.ours import Bench
from benchmarks.loadgen.peers import install
from benchmarks.machine import Cpus
from benchmarks.precision.clients import BODY_BYTES, CLIENTS, OURS, Answer
from benchmarks.server import Delay, serving
from benchmarks.truth import pcap
from benchmarks.truth.capture import capturing
from benchmarks.truth.exchanges import exchanges
from nightbench.errors import NightbenchError
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop
from nightbench.server import Protocol

_CASES = {
    "independent": Delay(0),
    # A tenth of the logarithm wanders, and forgets within 50 requests.
    "drifting": Delay(0, drift=0.1, phi=0.98),
}
_PIECE_S = 30.0
_REFERENCE_SEED = 1_000
_TIME_BAR = 0.5
_LEVELS = {"p50": 0.5, "p99": 0.99}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10, help="of each client (default: 10)")
    parser.add_argument("--reference-seconds", type=float, default=600.0, help="of the long run (default: 600)")
    options = parser.parse_args()
    cpus = Cpus.split()
    for line in machine.describe(cpus):
        print(line)
    names = list(CLIENTS)
    if missing := install.why_not(install.perf_analyzer):
        print(f"absent: perf_analyzer: {missing}")
        names = [OURS]
    with tempfile.TemporaryDirectory(prefix="nightbench-precision-") as folder:
        for case, delay in _CASES.items():
            truth = _reference(Path(folder), cpus, delay, options.reference_seconds)
            answers: dict[str, list[Answer]] = defaultdict(list)
            for number in range(options.repetitions):
                for name in (*names[number % len(names) :], *names[: number % len(names)]):
                    try:
                        with serving(Path(folder), cpus.server, replace(delay, seed=number)) as server:
                            answers[name].append(CLIENTS[name](Bench(server, cpus.client, Path(folder))))
                    except RuntimeError as error:
                        print(f"{name}, repetition {number + 1}: void: {error}", file=sys.stderr)
            _print(case, truth, options.reference_seconds, answers)
    print(f"\nload average at the end {machine.load_average()}")


def _reference(folder: Path, cpus: Cpus, delay: Delay, seconds: float) -> dict[str, float]:
    """p50 and p99 of the wire, in microseconds."""
    pieces, left_s, seed = [], seconds, _REFERENCE_SEED
    while left_s > 0:
        with (
            serving(folder, cpus.server, replace(delay, seed=seed)) as server,
            capturing(folder / "capture", server.port, cpus.server) as capture,
        ):
            bench = Bench(server, cpus.client, folder)
            load = ClosedLoop(programs.CONCURRENCY)
            bench.measure(bench.job(Protocol.RAW_HTTP, BODY_BYTES, load, min(_PIECE_S, left_s)))
        left_s -= _PIECE_S
        seed += 1
        if capture.dropped:
            print(f"reference: {capture.dropped} packets dropped; a piece is void", file=sys.stderr)
        else:
            pieces.append(exchanges(pcap.read(capture.data), server.port).service_ns)
    if not pieces:
        raise RuntimeError("the kernel dropped packets of every piece of the reference")
    found = np.quantile(np.concatenate(pieces), list(_LEVELS.values())) / 1e3
    return dict(zip(_LEVELS, found.tolist(), strict=True))


def _print(case: str, truth: dict[str, float], reference_s: float, answers: dict[str, list[Answer]]) -> None:
    print(
        f"\nDelays {case}: reference of {reference_s:g} s: p50 {truth['p50'] / 1e3:.3f} ms, "
        f"p99 {truth['p99'] / 1e3:.3f} ms"
    )
    print(
        f"{'client':20} {'answers':>8} {'wall s':>20} "
        f"{'p50 error %: mean':>18} {'worst':>6} {'p99: mean':>10} {'worst':>6}"
    )
    for name, found in answers.items():
        good = [answer for answer in found if answer.p50 and answer.p99]
        cells = " ".join(
            f"{statistics.mean(errors):>{width}.2f} {max(errors):>6.2f}" if errors else f"{'-':>{width}} {'-':>6}"
            for errors, width in ((_errors(good, level, truth), width) for level, width in (("p50", 18), ("p99", 10)))
        )
        wall = machine.spread([answer.wall_s for answer in found], 1)
        print(f"{name:20} {f'{len(good)}/{len(found)}':>8} {wall:>20} {cells}")
    for level, value in truth.items():
        held = [_holds(getattr(answer, level), value) for answer in answers[OURS] if getattr(answer, level)]
        print(f"{OURS}: {sum(held)} of {len(held)} intervals of {level} hold the reference")
    if not answers[OURS]:
        return
    ours_s = statistics.median(answer.wall_s for answer in answers[OURS])
    for name in (name for name in answers if name != OURS):
        ratio = ours_s / statistics.median(answer.wall_s for answer in answers[name])
        print(f"{OURS} / {name}: time {ratio:.2f}, {machine.verdict(ratio, _TIME_BAR)}")
        for level in _LEVELS:
            ours, theirs = (_errors(answers[who], level, truth) for who in (OURS, name))
            if ours and theirs:
                won = "met" if statistics.mean(ours) <= statistics.mean(theirs) else "MISSED"
                print(f"{OURS} / {name}: mean error of {level} no larger: {won}")


def _errors(answers: Sequence[Answer], level: str, truth: dict[str, float]) -> list[float]:
    """Percent, without a sign, of those that gave an answer."""
    estimates = [getattr(answer, level) for answer in answers]
    return [100.0 * abs(estimate.value / truth[level] - 1.0) for estimate in estimates if estimate is not None]


def _holds(estimate: Estimate, value: float) -> bool:
    return (estimate.low or 0.0) <= value <= (estimate.high or float("inf"))


if __name__ == "__main__":
    try:
        main()
    except (NightbenchError, RuntimeError) as error:
        sys.exit(str(error))
