"""Servers as local processes: started, found ready, and ended with everything they started, whatever happens."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from launch.cgroup import MemoryGroup, memory_group
from launch.in_process import deploy_in_process
from launch.labels import labels
from launch.limits import describe
from launch.logs import log_tail
from launch.ports import LOOPBACK, is_free, reserve
from launch.processes import look_up
from launch.readiness import Waiting
from launch.request import LaunchRequest
from launch.running import running
from launch.serving import PortLost, command_of, endpoints_at, load_time_ns, serve_request, signal_name
from launch.workdir import default_root, workdir
from nightbench.errors import DeploymentError
from nightbench.server import Deployment, Endpoint, Prober
from nightbench.stopping import never

__all__ = ["LaunchRequest", "ProcessLauncher", "alive", "labels", "log_tail"]


class ProcessLauncher:
    """Starts servers on this machine; stateless, so that any number may run side by side."""

    @contextmanager
    def launch(
        self, request: LaunchRequest, prober: Prober, should_stop: Callable[[], bool] = never
    ) -> Iterator[Deployment]:
        """A deployment that answers correctly, ended when the block ends, however it ends.

        ``prober`` judges its answers; ``should_stop`` is asked while waiting for the first right one. Raises
        `DeploymentError` if there is none: ``died``, ``not_ready``, ``wrong_answer``, ``no_port``; `Stopped` if
        told to stop.
        """
        if request.spec.in_process:
            yield deploy_in_process(request, prober, should_stop)
            return
        with ExitStack() as stack:
            try:
                deployment = stack.enter_context(_deployed(request, prober, should_stop))
            except PortLost:
                deployment = stack.enter_context(_deployed(request, prober, should_stop))
            yield deployment


def alive(deployment: Deployment) -> bool:
    """Whether its root process still runs; always true where the load engine hosts the model."""
    if deployment.pid is None:
        return True
    seen = look_up(deployment.pid)
    return seen is not None and not seen.zombie


@contextmanager
def _deployed(request: LaunchRequest, prober: Prober, should_stop: Callable[[], bool]) -> Iterator[Deployment]:
    spec = request.spec
    with ExitStack() as stack:
        folder = stack.enter_context(workdir(request.workdir_root or default_root()))
        ports = dict(zip(spec.ports, stack.enter_context(reserve(len(spec.ports), request.ports)), strict=True))
        serve = serve_request(request, folder, ports, LOOPBACK)
        command = command_of(spec.command, serve)
        memory = stack.enter_context(memory_group(folder.name, request.limits.memory_bytes))
        started_ns = time.monotonic_ns()
        process, tree = stack.enter_context(running(request, command, folder, memory))

        def check_alive() -> None:
            if process.poll() is not None:
                raise _death(request, process, memory, ports)

        def check_ours(endpoint: Endpoint) -> None:
            if not tree.listens(endpoint.port):
                detail = f"port {endpoint.port} is answered by another process"
                raise PortLost("died", detail, log_tail(request.log_path))

        endpoints = endpoints_at(LOOPBACK, serve, spec.protocols)
        waiting = Waiting(
            spec.name, spec.ready_timeout_s, prober, check_alive, check_ours, should_stop, request.log_path
        )
        ready_ns = waiting.until_all_ready(endpoints)
        metrics = spec.metrics
        yield Deployment(
            server=spec.name,
            endpoints=endpoints,
            pid=process.pid,
            cold_start_ns=ready_ns - started_ns,
            model_load_ns=load_time_ns(serve.load_time_path),
            rss_bytes=tree.rss_bytes(),
            server_version=request.environment.version,
            environment=request.environment.fingerprint,
            log_path=request.log_path,
            metrics_url=f"http://{LOOPBACK}:{ports[metrics.port]}{metrics.path}" if metrics else None,
            limits=describe(request.limits, memory),
        )


def _death(
    request: LaunchRequest,
    process: subprocess.Popen[bytes],
    memory: MemoryGroup,
    ports: Mapping[str, int],
) -> DeploymentError:
    """What became of a process that ended before it was ready."""
    code = process.returncode
    tail = log_tail(request.log_path)
    if memory.out_of_memory:
        return DeploymentError("died", f"was killed for memory (limit {request.limits.memory_bytes} bytes)", tail)
    if code < 0:
        return DeploymentError("died", f"was killed by {signal_name(-code)}", tail)
    how = f"exited with code {code}"
    lost = next((port for port in ports.values() if not is_free(port)), None)
    if lost is not None or "address already in use" in tail.lower():
        return PortLost("died", f"{how}: another process took its port", tail)
    return DeploymentError("died", how, tail)
