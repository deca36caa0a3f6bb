"""Starting the null server, and ending it whatever happens."""

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from loadgen.null.pieces import write_pieces
from loadgen.null.replies import ReadyAnswer
from nightbench.errors import NightbenchError

__all__ = ["NullServer", "null_server"]

_ANSWERS_WITHIN_S = 30.0
_ENDS_WITHIN_S = 5.0
_STDERR_TAIL_BYTES = 500
_INHERITED = ("LANG", "LD_LIBRARY_PATH", "PATH")


@dataclass(frozen=True, slots=True)
class NullServer:
    """A running one."""

    port: int
    """On 127.0.0.1."""
    _stdin: IO[bytes]
    _said: Callable[[], int]

    def cpu_ns(self) -> int:
        """User and system time it used so far; `NightbenchError` if it is gone."""
        try:
            self._stdin.write(b"\n")
        except BrokenPipeError as error:
            raise NightbenchError("calibration: the null server is gone") from error
        return self._said()


@contextmanager
def null_server(
    answer: ReadyAnswer, folder: Path, cpus: Sequence[int] | None = None, env: Mapping[str, str] | None = None
) -> Iterator[NullServer]:
    """Serve ``answer`` on ``cpus`` until the block ends, with ``env`` added to a minimal environment.

    Its files go to ``folder``, which the caller removes. `NightbenchError` if it does not come up.
    """
    ready, stderr = folder / "answer", folder / "null-server.log"
    write_pieces(ready, answer.pieces)
    # Without site-packages: it needs none, and starts sooner.
    command = [sys.executable, "-S", "-m", "loadgen.null", answer.speaks, str(ready.absolute())]
    if cpus is not None:
        command += ["--cpus", ",".join(map(str, cpus))]
    with (
        stderr.open("wb") as log,
        subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=_environment() | dict(env or {}),
            # Ctrl-C is for our caller, whose end is its end.
            start_new_session=True,
        ) as process,
    ):
        # Pipes were asked for, so that both are there.
        stdin, stdout = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        said = partial(_number, stdout, stderr)
        try:
            yield NullServer(said(), stdin, said)
        finally:
            stdin.close()
            _end(process)


def _environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _number(stdout: IO[bytes], stderr: Path) -> int:
    """The next line of its standard output."""
    line = stdout.readline() if select.select([stdout], [], [], _ANSWERS_WITHIN_S)[0] else b""
    if not line.strip().isdigit():
        why = stderr.read_bytes()[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip()
        raise NightbenchError(f"calibration: the null server said nothing{': ' if why else ''}{why}")
    return int(line)
