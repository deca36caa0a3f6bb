"""The engine and perf_analyzer, each stopping by its own rule."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from benchmarks.loadgen import programs
from benchmarks.loadgen.ours import Bench, figures
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, EndedBy
from nightbench.precision import Precision
from nightbench.server import Protocol

__all__ = ["BODY_BYTES", "CLIENTS", "OURS", "Answer"]

BODY_BYTES = 100
OURS = "nightbench"
_WARMUP_S = 2.0
"""What a suite cuts at least unless it says otherwise."""
_BUDGET_S = 150.0
"""As long as ten windows of perf_analyzer and half as much."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``p50_us`` and ``p99_us`` are absent where the client's rule was not met: it gave up."""

    wall_s: float
    """From the start of the process to the figures."""
    p50: Estimate | None = None
    """Microseconds."""
    p99: Estimate | None = None


def _ours(bench: Bench) -> Answer:
    """Half-widths of 2 % for p50 and of 10 % for p99, warm-up and its assessment included."""
    began = time.monotonic()
    job = bench.job(Protocol.RAW_HTTP, BODY_BYTES, ClosedLoop(programs.CONCURRENCY), _BUDGET_S)
    job = replace(job, precision=Precision(p50=0.02, p99=0.10), min_warmup_s=_WARMUP_S)
    result, samples = bench.measure(job)
    latency_ns = figures(job, result, samples).latency_ns
    wall_s = time.monotonic() - began
    if result.ended_by is not EndedBy.PRECISION:
        return Answer(wall_s)
    return Answer(wall_s, _us(latency_ns["p50"]), _us(latency_ns["p99"]))


def _us(ns: Estimate) -> Estimate:
    return Estimate(ns.value / 1e3, ns.low and ns.low / 1e3, ns.high and ns.high / 1e3)


def _perf_analyzer(*options: str) -> Callable[[Bench], Answer]:
    """Its defaults, spelt out: windows of 5 s until three in a row agree within 10 %, ten at most."""

    def run(bench: Bench) -> Answer:
        program = programs.perf_analyzer(bench, BODY_BYTES, "-p", "5000", "-s", "10", "-r", "10", *options)
        began = time.monotonic()
        try:
            output = programs.run(bench, program, _BUDGET_S)
        except RuntimeError as error:
            if "Failed to obtain stable measurement" not in str(error):
                raise
            return Answer(time.monotonic() - began)
        wall_s = time.monotonic() - began
        p50, p99 = (float(programs.found(rf"{level} latency: (\d+) usec", output)) for level in ("p50", "p99"))
        return Answer(wall_s, Estimate(p50), Estimate(p99))

    return run


CLIENTS: Mapping[str, Callable[[Bench], Answer]] = {
    OURS: _ours,
    "perf_analyzer": _perf_analyzer(),
    "perf_analyzer, p99": _perf_analyzer("--percentile=99"),
}
