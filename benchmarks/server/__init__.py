"""The server of the benchmarks: built from the C files beside this one, started, and ended."""

import mmap
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from launch.limits import affinity
from nightbench.errors import UsageError

__all__ = ["Delay", "Log", "Server", "serving"]

_FOLDER = Path(__file__).parent
_ENDS_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Delay:
    """The distribution of the server's answering times; see ``delays.c``."""

    seed: int
    median_us: float = 4_000.0
    sigma: float = 0.596
    """Of the logarithm, from request to request: p99 is four times the median, exp(2.326 x 0.596)."""
    drift: float = 0.0
    """Of the logarithm too, what wanders."""
    phi: float = 0.0
    """Of the wandering: the correlation from one request to the next."""


@dataclass(frozen=True, slots=True)
class Log:
    """One row a delayed request, in order of arrival, on the monotonic clock."""

    arrived_ns: NDArray[np.int64]
    drawn_ns: NDArray[np.int64]
    """The delay it was to have."""
    answered_ns: NDArray[np.int64]

    @property
    def service_ns(self) -> NDArray[np.int64]:
        return self.answered_ns - self.arrived_ns


@dataclass(frozen=True, slots=True)
class Server:
    """On 127.0.0.1."""

    port: int
    workdir: Path
    _counter: mmap.mmap

    def answered(self) -> int:
        """Predictions answered so far; asking costs the server nothing."""
        return int.from_bytes(self._counter[:8], "little")

    def log(self) -> Log:
        """What a server with a `Delay` did, once it has ended: requests without an answer are left out."""
        rows = np.fromfile(self.workdir / "log", np.int64).reshape(-1, 3)
        return Log(*rows[rows[:, 2] > 0].T.copy())


@contextmanager
def serving(workdir: Path, cpus: tuple[int, ...] | None, delay: Delay | None = None) -> Iterator[Server]:
    """A server on ``cpus`` that ends with the block; `UsageError` without a compiler.

    ``workdir`` holds the program, which is built once, and what this server writes, until the next one there starts.
    """
    program, count = _built(workdir), workdir / "count"
    count.unlink(missing_ok=True)
    command = [str(program), str(count)]
    if delay is not None:
        numbers = (delay.seed, delay.median_us, delay.sigma, delay.drift, delay.phi)
        command += [str(workdir / "log"), *map(str, numbers)]
    with affinity(cpus):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # It has made the counter when it tells its port.
            port = int(process.stdout.readline())
            with count.open("rb") as file, mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ) as counter:
                yield Server(port, workdir, counter)
        finally:
            # It serves until its standard input ends, so it dies with us, however we die.
            process.stdin.close()
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _built(workdir: Path) -> Path:
    program = workdir / "server"
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UsageError("benchmarks: there is no C compiler for their server; install one (Debian: gcc libc6-dev)")
    sources = map(str, sorted(_FOLDER.glob("*.c")))
    subprocess.run((compiler, "-O2", "-o", str(program), *sources, "-lm"), check=True)
    return program
