"""Every client that is compared: how it is started, and how its own processor time a request is had."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.loadgen.ours import Bench, grpc_message
from launch.limits import affinity
from nightbench.load import ClosedLoop
from nightbench.server import Protocol

__all__ = ["CLIENTS", "CONCURRENCY", "Client", "Figures"]

CONCURRENCY = 16
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Figures:
    """One run: user and system time of the client's process for each request, and how many it got through."""

    cpu_us: float
    rps: float


@dataclass(frozen=True, slots=True)
class Client:
    """One contestant of the comparison ``kind``."""

    name: str
    kind: str
    missing: Callable[[], str]
    """What it lacks on this machine; empty if nothing."""
    run: Callable[[Bench, int, float], Figures]
    """Bench, body bytes, seconds."""


def _ours(protocol: Protocol) -> Callable[[Bench, int, float], Figures]:
    def run(bench: Bench, body_bytes: int, seconds: float) -> Figures:
        result, _ = bench.measure(protocol, body_bytes, ClosedLoop(CONCURRENCY), seconds)
        wall_s = (result.ended_ns - result.started_ns) / 1e9
        return Figures(result.client_cpu_ns / 1e3 / result.requests, result.requests / wall_s)

    return run


def _timed(bench: Bench, command: Sequence[str]) -> tuple[str, float]:
    """A process's output, and the processor seconds the kernel says it used, from its start to its end."""
    with affinity(bench.client_cpus):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=_ROOT, text=True
        )
    with process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with exit code {process.returncode}")
    return output, usage.ru_utime + usage.ru_stime


def _found(pattern: str, output: str) -> float:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(f"no {pattern!r} in: {output[:500]}")
    return float(match[1])


def _wrk(bench: Bench, body_bytes: int, seconds: float) -> Figures:
    script = bench.workdir / f"wrk-{body_bytes}.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = string.rep("x", {body_bytes})\n'
        'wrk.headers["Content-Type"] = "application/octet-stream"\n'
    )
    url = f"http://127.0.0.1:{bench.port}/v1/predict"
    # It takes whole seconds.
    duration = f"{max(1, round(seconds))}s"
    command = ("wrk", "-t1", f"-c{CONCURRENCY}", f"-d{duration}", "-s", str(script), url)
    output, cpu_s = _timed(bench, command)
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk saw errors: {output[-300:]}")
    return Figures(cpu_s * 1e6 / _found(r"(\d+) requests in", output), _found(r"Requests/sec:\s*([\d.]+)", output))


def _h2load(bench: Bench, body_bytes: int, seconds: float) -> Figures:
    message = bench.workdir / f"message-{body_bytes}"
    message.write_bytes(grpc_message(bench.port, body_bytes))
    command = (
        *("h2load", "-t1", f"-c{CONCURRENCY}", "-m1", "-D", str(max(1, round(seconds))), "-d", str(message)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        f"http://127.0.0.1:{bench.port}/inference.GRPCInferenceService/ModelInfer",
    )
    output, cpu_s = _timed(bench, command)
    if _found(r"(\d+) failed", output) or not _found(r"(\d+) succeeded", output):
        raise RuntimeError(f"h2load saw errors: {output[-500:]}")
    return Figures(cpu_s * 1e6 / _found(r"(\d+) done", output), _found(r"([\d.]+) req/s", output))


def _peer(module: str) -> Callable[[Bench, int, float], Figures]:
    def run(bench: Bench, body_bytes: int, seconds: float) -> Figures:
        arguments = (str(bench.port), str(body_bytes), str(CONCURRENCY), str(seconds))
        output, _ = _timed(bench, (sys.executable, "-m", f"benchmarks.loadgen.peers.{module}", *arguments))
        count = json.loads(output)
        return Figures(count["cpu_s"] * 1e6 / count["requests"], count["requests"] / count["wall_s"])

    return run


def _needs_program(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else f"the program {name} is not installed"


def _needs_package(name: str) -> Callable[[], str]:
    return lambda: "" if find_spec(name) else f"the package {name} is not installed"


def _needs_nothing() -> str:
    return ""


CLIENTS = (
    Client("nightbench", "HTTP/1.1", _needs_nothing, _ours(Protocol.RAW_HTTP)),
    Client("wrk", "HTTP/1.1", _needs_program("wrk"), _wrk),
    Client("wrk (again)", "HTTP/1.1", _needs_program("wrk"), _wrk),
    Client("aiohttp", "HTTP/1.1", _needs_package("aiohttp"), _peer("aiohttp_client")),
    Client("tritonclient.http", "HTTP/1.1", _needs_package("tritonclient"), _peer("triton_http")),
    Client("nightbench", "gRPC", _needs_nothing, _ours(Protocol.KSERVE_GRPC)),
    Client("h2load", "gRPC", _needs_program("h2load"), _h2load),
    Client("h2load (again)", "gRPC", _needs_program("h2load"), _h2load),
    Client("grpc.aio", "gRPC", _needs_package("grpc"), _peer("grpc_aio")),
    Client("tritonclient.grpc", "gRPC", _needs_package("tritonclient"), _peer("triton_grpc")),
    Client("tritonclient.grpc.aio", "gRPC", _needs_package("tritonclient"), _peer("triton_grpc_aio")),
)
