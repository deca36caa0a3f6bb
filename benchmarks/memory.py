"""What ten million requests in one cell take of memory: `python -m benchmarks.memory`.

One closed loop over HTTP against the benchmarks' server, run and assessed as a night's cell is. Printed are the peaks
of the engine's process and of its caller, which is this one. The kernel keeps a peak of resident pages (VmHWM) for each
process. Columns in memory that both have mapped (a memfd) are in the peaks of both and exist once; so beside each peak
stands what of it is shared (RssShmem), and the bar is held against the sum without counting shared pages twice
(Pss, looked at twice a second).
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import machine
from benchmarks.loadgen.ours import Bench, figures
from benchmarks.loadgen.programs import CONCURRENCY
from benchmarks.machine import Cpus
from benchmarks.server import serving
from nightbench.errors import NightbenchError
from nightbench.load import ClosedLoop
from nightbench.server import Protocol

_BODY_BYTES = 100
_BAR_MB = 1_000
_SLOWEST_RPS = 5_000.0
_LOOK_S = 0.5


@dataclass(slots=True)
class Peaks:
    """Megabytes, the largest seen of each process."""

    resident: dict[int, float] = field(default_factory=dict)
    shared: dict[int, float] = field(default_factory=dict)
    together: float = 0.0
    """Proportional set sizes, summed over the processes at one moment."""

    def look(self, pids: set[int]) -> None:
        together = 0.0
        for pid in pids:
            try:
                status = _megabytes(Path(f"/proc/{pid}/status"))
                together += _megabytes(Path(f"/proc/{pid}/smaps_rollup")).get("Pss", 0.0)
            except OSError:
                continue
            self.resident[pid] = max(self.resident.get(pid, 0.0), status.get("VmHWM", 0.0))
            self.shared[pid] = max(self.shared.get(pid, 0.0), status.get("RssShmem", 0.0))
        self.together = max(self.together, together)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000, help="in the cell (default: 10,000,000)")
    options = parser.parse_args()
    cpus = Cpus.split()
    for line in machine.describe(cpus):
        print(line)
    peaks, pids, done = Peaks(), {os.getpid()}, threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            peaks.look(pids.copy())

    with (
        tempfile.TemporaryDirectory(prefix="nightbench-memory-") as folder,
        serving(Path(folder), cpus.server) as server,
    ):
        bench = Bench(server, cpus.client, Path(folder))
        seconds = options.requests / _SLOWEST_RPS
        job = bench.job(Protocol.RAW_HTTP, _BODY_BYTES, ClosedLoop(CONCURRENCY), seconds)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            began = time.monotonic()
            result, samples = bench.measure(replace(job, max_requests=options.requests), pids.add)
            measured_s = time.monotonic() - began
            assessed = figures(job, result, samples)
            assessed_s = time.monotonic() - began - measured_s
        finally:
            done.set()
            watcher.join()
        peaks.look({os.getpid()})
    p50, p99 = (assessed.latency_ns[level].value / 1e3 for level in ("p50", "p99"))
    sent_s = (result.ended_ns - result.started_ns) / 1e9
    print(f"\n{result.requests:,} requests in {sent_s:.0f} s; p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    print(f"{measured_s - sent_s:.1f} s to start and to hand the samples over, {assessed_s:.1f} s to assess them")
    for pid in sorted(pids):
        who = "caller" if pid == os.getpid() else "engine"
        peak, shared = peaks.resident[pid], peaks.shared[pid]
        bar = machine.verdict(peak, _BAR_MB, " MB")
        print(f"{who:8} {peak:>7.0f} MB at its peak, shared pages {shared:>5.0f} MB at theirs   {bar}")
    bar = machine.verdict(peaks.together, _BAR_MB, " MB")
    print(f"together {peaks.together:>7.0f} MB at the fullest moment seen          {bar}")
    print(f"load average at the end {machine.load_average()}")


def _megabytes(path: Path) -> dict[str, float]:
    """The ``Name: N kB`` lines of one of /proc's files."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            found[name] = int(value.split()[0]) * 1024 / 1e6
    return found


if __name__ == "__main__":
    try:
        main()
    except (NightbenchError, RuntimeError) as error:
        sys.exit(str(error))
