"""Fixed work that no server takes part in: where it takes longer than on other nights, the machine is slower.

``python -m loadgen.canary [CPU,CPU,...]`` does it in a process of its own, on those processors if given, and prints one
line of JSON: nanoseconds of one repetition by canary, the median with its 95 % interval. The two ask for what servers
ask for: ``matrix_product``, float32 of 512 by 512, for arithmetic out of the caches; ``memory_copy``, 64 MiB, for the
memory behind them. What is done is never changed: their history would be worth nothing.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nightbench.errors import NightbenchError
from nightbench.figures import Estimate
from nightbench.stats.quantiles import NotEnough, quantile

__all__ = ["CANARIES", "repeated", "run_canaries"]

CANARIES = ("matrix_product", "memory_copy")
_SIZE = 512
_COPY_BYTES = 64 * 2**20
_FOR_S = 0.3
_WARMUP = 3
"""Repetitions: the first writes to fresh pages, and a clock that slept may still be on its way up."""
_LEAST = 11
"""Repetitions on a machine however slow: a median of fewer has no interval."""
_ENDS_WITHIN_S = 30.0
_STDERR_TAIL_BYTES = 500
_INHERITED = ("LANG", "LD_LIBRARY_PATH", "PATH")


def run_canaries(cpus: Sequence[int] | None, env: Mapping[str, str] | None = None) -> dict[str, Estimate]:
    """Both canaries on ``cpus``, in a fresh process with one thread; ``env`` is added to a minimal environment.

    `NightbenchError` if that fails or takes longer than half a minute.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    threads = dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    root = str(Path(__file__).resolve().parents[1])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "loadgen.canary", *([",".join(map(str, cpus))] if cpus else [])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ENDS_WITHIN_S,
            env={**inherited, **threads, "PYTHONPATH": root, "PYTHONNOUSERSITE": "1", **(env or {})},
            # Ctrl-C is for our caller, who waits a second at most.
            start_new_session=True,
            check=True,
        )
        return {name: Estimate(*bounds) for name, bounds in json.loads(done.stdout).items()}
    except subprocess.CalledProcessError as error:
        said = error.stderr[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip().rpartition("\n")[2]
        raise NightbenchError(f"the canary ended with code {error.returncode}: {said}") from error
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as error:
        raise NightbenchError(f"the canary did not answer: {error}") from error


def repeated(work: Callable[[], object], seconds: float = _FOR_S) -> Estimate:
    """How long ``work`` takes, in nanoseconds: the median of as many repetitions as fit, eleven at least."""
    for _ in range(_WARMUP):
        work()
    taken: list[int] = []
    end_ns = time.monotonic_ns() + round(seconds * 1e9)
    while len(taken) < _LEAST or time.monotonic_ns() < end_ns:
        begun_ns = time.monotonic_ns()
        work()
        taken.append(time.monotonic_ns() - begun_ns)
    found = quantile(np.array(taken), 0.5)
    return Estimate(float(np.median(taken))) if isinstance(found, NotEnough) else found


def _works() -> dict[str, Callable[[], object]]:
    left, right = np.random.default_rng(0).standard_normal((2, _SIZE, _SIZE), dtype=np.float32)
    product = np.empty_like(left)
    source, target = np.ones((2, _COPY_BYTES), dtype=np.uint8)
    works: tuple[Callable[[], object], ...] = (
        lambda: np.matmul(left, right, out=product),
        lambda: np.copyto(target, source),
    )
    return dict(zip(CANARIES, works, strict=True))


def main() -> None:
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, [int(cpu) for cpu in sys.argv[1].split(",")])
    found = {name: repeated(work) for name, work in _works().items()}
    print(json.dumps({name: (each.value, each.low, each.high) for name, each in found.items()}))


if __name__ == "__main__":
    main()
