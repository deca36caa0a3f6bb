"""Each client's own word: the p50 and p99 it reports of a run, in its usual way."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.loadgen import programs
from benchmarks.loadgen.ours import Bench
from nightbench.load import ClosedLoop, OpenLoop, Step
from nightbench.server import Protocol

__all__ = ["CLIENTS", "Claim", "Client"]

_BODY_BYTES = 100
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
_OPEN_RPS = 2_000.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a client says, of all the requests it sent."""

    requests: int
    p50_us: float
    p99_us: float


Client = Callable[[Bench, float, float], Claim]
"""Bench, seconds, and the requests a second that 16 at a time come to."""


def _ours(load: Step) -> Client:
    """Service time, ``done - sent``, of the whole run: no warm-up is cut, for the others cut none."""

    def run(bench: Bench, seconds: float, _rps: float) -> Claim:
        _, samples = bench.measure(bench.job(Protocol.RAW_HTTP, _BODY_BYTES, load, seconds))
        p50, p99 = np.quantile(samples.service_ns, (0.5, 0.99)) / 1e3
        return Claim(len(samples), p50, p99)

    return run


def _wrk(bench: Bench, seconds: float, _rps: float) -> Claim:
    output = programs.run(bench, programs.wrk(bench, _BODY_BYTES, seconds), seconds)
    if re.search("Non-2xx|Socket errors", output):
        raise RuntimeError(f"wrk saw errors: {output[-300:]}")
    times = {
        level: float(value) * _UNITS[unit] for level, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)\b", output)
    }
    return Claim(int(programs.found(r"(\d+) requests in", output)), times["50"], times["99"])


def _perf_analyzer(bench: Bench, seconds: float, rps: float) -> Claim:
    """One window with a number of requests: its figures are then of all it sent."""
    count = ("--request-count", str(round(rps * seconds)))
    output = programs.run(bench, programs.perf_analyzer(bench, _BODY_BYTES, *count), 2 * seconds)
    return Claim(
        int(programs.found(r"Request count: (\d+)", output)),
        float(programs.found(r"p50 latency: (\d+) usec", output)),
        float(programs.found(r"p99 latency: (\d+) usec", output)),
    )


def _locust(bench: Bench, seconds: float, _rps: float) -> Claim:
    output = programs.run(bench, programs.locust(bench, _BODY_BYTES, seconds), seconds)
    # Two tables end so: counts and failures; percentiles from 50 % over 66, 75, 80, 90, 95 and 98 to 99 %, and beyond.
    counts, levels = (line.split()[1:] for line in output.splitlines() if line.lstrip().startswith("Aggregated"))
    if not counts[1].startswith("0("):
        raise RuntimeError(f"Locust saw failures: {counts[1]}")
    return Claim(int(counts[0]), float(levels[0]) * 1e3, float(levels[7]) * 1e3)


CLIENTS: Mapping[str, Client] = {
    "nightbench": _ours(ClosedLoop(programs.CONCURRENCY)),
    "wrk": _wrk,
    "perf_analyzer": _perf_analyzer,
    "Locust": _locust,
    f"nightbench, open {_OPEN_RPS:,.0f} rps": _ours(OpenLoop(_OPEN_RPS)),
}
