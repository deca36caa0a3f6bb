"""The server of these benchmarks: built from ``server.c``, started, and ended."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.limits import affinity
from nightbench.errors import UsageError

__all__ = ["serving"]

_SOURCE = Path(__file__).with_name("server.c")
_ENDS_WITHIN_S = 5.0


@contextmanager
def serving(workdir: Path, cpus: tuple[int, ...] | None) -> Iterator[int]:
    """The port, on 127.0.0.1, of a server on ``cpus`` that ends with the block; `UsageError` without a compiler."""
    program = _built(workdir)
    with affinity(cpus):
        process = subprocess.Popen((program,), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            # It serves until its standard input ends, so it dies with us, however we die.
            process.stdin.close()
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _built(workdir: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UsageError("benchmarks.loadgen: there is no C compiler for its server; install one (Debian: gcc)")
    program = workdir / "server"
    subprocess.run((compiler, "-O2", "-o", str(program), str(_SOURCE)), check=True)
    return program
