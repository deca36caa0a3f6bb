"""The programs the engine is compared with: their command lines, and how one of them is run to its end."""

import math
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.loadgen.ours import Bench, grpc_message
from benchmarks.loadgen.peers import install
from launch.limits import affinity

__all__ = ["CONCURRENCY", "Program", "found", "h2load", "locust", "perf_analyzer", "run", "started", "wrk"]

CONCURRENCY = 16
_LOCUSTFILE = Path(install.__file__).with_name("locustfile.py")
_PATH = "/v1/predict"
_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Program:
    """``variables`` are its whole environment, but for PATH, or ours if there are none."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


def wrk(bench: Bench, body_bytes: int, seconds: float) -> Program:
    script = bench.workdir / f"wrk-{body_bytes}.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = string.rep("x", {body_bytes})\n'
        'wrk.headers["Content-Type"] = "application/octet-stream"\n'
    )
    # It takes whole seconds.
    times = ("-t1", f"-c{CONCURRENCY}", f"-d{math.ceil(seconds)}s", "--latency")
    return Program(("wrk", *times, "-s", str(script), f"http://127.0.0.1:{bench.port}{_PATH}"))


def h2load(bench: Bench, body_bytes: int, seconds: float) -> Program:
    message = bench.workdir / f"message-{body_bytes}"
    message.write_bytes(grpc_message(bench.port, body_bytes))
    return Program(
        (
            *("h2load", "-t1", f"-c{CONCURRENCY}", "-m1", "-D", str(math.ceil(seconds)), "-d", str(message)),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://127.0.0.1:{bench.port}/inference.GRPCInferenceService/ModelInfer",
        )
    )


def perf_analyzer(bench: Bench, body_bytes: int, *options: str, protocol: str = "http", mode: str = "sync") -> Program:
    """``options`` say when it stops. Its random data would be bit patterns, NaN among them: it sends zeros."""
    program = install.perf_analyzer()
    command = (
        *(str(program), "-m", "null", "-u", f"127.0.0.1:{bench.port}", "-i", protocol, f"--{mode}"),
        *("--concurrency-range", str(CONCURRENCY), "--shape", f"x:{body_bytes // 4}", "--input-data", "zero"),
        *options,
    )
    return Program(command, {"LD_LIBRARY_PATH": str(program.parent)})


def locust(bench: Bench, body_bytes: int, seconds: float) -> Program:
    command = (
        *(str(install.locust()), "-f", str(_LOCUSTFILE), "--headless", "--host", f"http://127.0.0.1:{bench.port}"),
        *("-u", str(CONCURRENCY), "-r", str(CONCURRENCY), "-t", f"{math.ceil(seconds)}s"),
        *("--only-summary", "--stop-timeout", "0"),
    )
    return Program(command, {"BODY_BYTES": str(body_bytes), "HOME": str(bench.workdir)})


@contextmanager
def started(bench: Bench, program: Program) -> Iterator["subprocess.Popen[str]"]:
    """The program on the client's processors, in a folder for files. It does not outlive the block."""
    variables = {"PATH": "/usr/bin:/bin", **program.variables} if program.variables else None
    with affinity(bench.client_cpus):
        process = subprocess.Popen(
            program.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=variables,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _unwatched(_: int) -> None:
    pass


def run(bench: Bench, program: Program, seconds: float, while_running: Callable[[int], None] = _unwatched) -> str:
    """Its output; `RuntimeError` unless it ends well, in about so many seconds. ``while_running`` is told its id."""
    name = Path(program.command[0]).name
    with started(bench, program) as process:
        while_running(process.pid)
        try:
            output, _ = process.communicate(timeout=seconds + _GRACE_S)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{name} did not end within {seconds + _GRACE_S:g} s") from error
    if process.returncode:
        raise RuntimeError(f"{name} ended with exit code {process.returncode}: {output[-500:]}")
    return output


def found(pattern: str, output: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(f"no {pattern!r} in: {output[-500:]}")
    return match[1]
