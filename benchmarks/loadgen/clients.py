"""Every client whose cost is compared: how it is started, and what it lacks on this machine."""

import re
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.loadgen import programs
from benchmarks.loadgen.meter import MARGIN_S, Figures, metered
from benchmarks.loadgen.ours import Bench
from benchmarks.loadgen.peers import install
from benchmarks.loadgen.programs import CONCURRENCY, Program
from nightbench.load import ClosedLoop
from nightbench.server import Protocol

__all__ = ["CLIENTS", "Client"]

Run = Callable[[Bench, int, float], Figures]


@dataclass(frozen=True, slots=True)
class Client:
    """One contestant of the comparison ``kind``."""

    name: str
    kind: str
    missing: Callable[[], str]
    """What it lacks on this machine; empty if nothing."""
    run: Run
    """Bench, body bytes, seconds."""


def _ours(protocol: Protocol) -> Run:
    def run(bench: Bench, body_bytes: int, seconds: float) -> Figures:
        before = bench.server.answered()
        figures: list[Figures | RuntimeError] = []

        def watch(pid: int) -> None:
            try:
                figures.append(metered(pid, bench.server, seconds, before))
            except RuntimeError as error:
                figures.append(error)

        watchers: list[threading.Thread] = []

        def on_start(pid: int) -> None:
            watchers.append(threading.Thread(target=watch, args=(pid,)))
            watchers[0].start()

        try:
            bench.measure(bench.job(protocol, body_bytes, ClosedLoop(CONCURRENCY), seconds + MARGIN_S), on_start)
        finally:
            # It ends when the engine has, at the latest.
            for watcher in watchers:
                watcher.join()
        if isinstance(figures[0], RuntimeError):
            raise figures[0]
        return figures[0]

    return run


def _program(program: Callable[[Bench, int, float], Program], bad: str = "") -> Run:
    """A program that ends by itself, and whose output is not to hold ``bad`` if that is given."""

    def run(bench: Bench, body_bytes: int, seconds: float) -> Figures:
        before = bench.server.answered()
        figures: list[Figures] = []
        sends_s = seconds + MARGIN_S
        output = programs.run(
            bench,
            program(bench, body_bytes, sends_s),
            sends_s,
            lambda pid: figures.append(metered(pid, bench.server, seconds, before)),
        )
        if bad and re.search(bad, output):
            raise RuntimeError(f"it saw errors: {output[-500:]}")
        return figures[0]

    return run


def _perf_analyzer(protocol: str, mode: str) -> Run:
    """It is stopped while it measures: when it would end is its own affair."""

    def run(bench: Bench, body_bytes: int, seconds: float) -> Figures:
        before = bench.server.answered()
        program = programs.perf_analyzer(bench, body_bytes, "-p", "100000", protocol=protocol, mode=mode)
        with programs.started(bench, program) as process:
            return metered(process.pid, bench.server, seconds, before)

    return run


def _peer(module: str) -> Run:
    def program(bench: Bench, body_bytes: int, seconds: float) -> Program:
        arguments = (str(bench.port), str(body_bytes), str(CONCURRENCY), str(seconds))
        return Program((sys.executable, "-m", f"benchmarks.loadgen.peers.{module}", *arguments))

    return _program(program)


def _needs_program(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else f"the program {name} is not installed"


def _needs_package(name: str) -> Callable[[], str]:
    return lambda: "" if find_spec(name) else f"the package {name} is not installed"


def _needs_nothing() -> str:
    return ""


def _needs_perf_analyzer() -> str:
    return install.why_not(install.perf_analyzer)


def _needs_locust() -> str:
    return install.why_not(install.locust)


_WRK = _program(programs.wrk, bad="Non-2xx|Socket errors")
_H2LOAD = _program(programs.h2load, bad="[1-9][0-9]* failed|, 0 succeeded")

CLIENTS = (
    Client("nightbench", "HTTP/1.1", _needs_nothing, _ours(Protocol.RAW_HTTP)),
    Client("wrk", "HTTP/1.1", _needs_program("wrk"), _WRK),
    Client("wrk (again)", "HTTP/1.1", _needs_program("wrk"), _WRK),
    Client("perf_analyzer", "HTTP/1.1", _needs_perf_analyzer, _perf_analyzer("http", "sync")),
    Client("perf_analyzer --async", "HTTP/1.1", _needs_perf_analyzer, _perf_analyzer("http", "async")),
    Client("Locust", "HTTP/1.1", _needs_locust, _program(programs.locust)),
    Client("aiohttp", "HTTP/1.1", _needs_package("aiohttp"), _peer("aiohttp_client")),
    Client("tritonclient.http", "HTTP/1.1", _needs_package("tritonclient"), _peer("triton_http")),
    Client("nightbench", "gRPC", _needs_nothing, _ours(Protocol.KSERVE_GRPC)),
    Client("h2load", "gRPC", _needs_program("h2load"), _H2LOAD),
    Client("h2load (again)", "gRPC", _needs_program("h2load"), _H2LOAD),
    Client("perf_analyzer", "gRPC", _needs_perf_analyzer, _perf_analyzer("grpc", "sync")),
    Client("perf_analyzer --async", "gRPC", _needs_perf_analyzer, _perf_analyzer("grpc", "async")),
    Client("grpc.aio", "gRPC", _needs_package("grpc"), _peer("grpc_aio")),
    Client("tritonclient.grpc", "gRPC", _needs_package("tritonclient"), _peer("triton_grpc")),
    Client("tritonclient.grpc.aio", "gRPC", _needs_package("tritonclient"), _peer("triton_grpc_aio")),
)
