"""Servers as containers: each with its own network, found ready, and removed whatever happens.

Load goes to the container's own address on its bridge where that is this machine's, and not through the published port:
Docker publishes on loopback by a process that copies every byte, which costs more than many servers do (see
docs/containers.md). The published port is for people, and for engines in a machine of their own (Docker Desktop).
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from launch.container import creation, hand_over, network_options, spoken
from launch.engine import Engine, refusal
from launch.environment import Environment
from launch.images import inside
from launch.in_process import deploy_in_process
from launch.labels import container_labels
from launch.logs import log_tail
from launch.ports import LOOPBACK, reserve
from launch.processes import Seen, look_up
from launch.readiness import Waiting
from launch.request import LaunchRequest
from launch.serving import PortLost, command_of, endpoints_at, load_time_ns, serve_request, signal_name
from launch.tree import of_deployment
from launch.workdir import default_root, engine_mark, workdir
from nightbench.errors import DeploymentError
from nightbench.server import Deployment, Endpoint, Limits, Prober
from nightbench.stopping import never

if TYPE_CHECKING:
    from docker.models.containers import Container

__all__ = ["DockerLauncher"]

ANYWHERE = "0.0.0.0"  # noqa: S104  (inside the container; outside it is published on loopback only)
_SIGNALLED = 128
"""What is added to the number of the signal that ended it, in an exit code."""
_LOG_WAIT_S = 5.0
_OOM_WAIT_S = 1.0
"""The engine hears that a container ended and that its memory ran out on two ways, in either order."""


class DockerLauncher:
    """Launches as `launch.process.ProcessLauncher` does; any number may run side by side."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def launch(
        self, request: LaunchRequest, prober: Prober, should_stop: Callable[[], bool] = never
    ) -> Iterator[Deployment]:
        """A container of ``request.environment.image`` that answers correctly, removed when the block ends.

        Raises what the process launcher does, and `DeploymentError` of the kinds ``no_engine``, ``no_image``,
        ``no_gpu`` and ``no_disk``. What the load engine hosts itself is in no container.
        """
        if request.spec.in_process:
            yield deploy_in_process(request, prober, should_stop)
            return
        with ExitStack() as stack:
            try:
                deployment = stack.enter_context(self._deployed(request, prober, should_stop))
            except PortLost:
                deployment = stack.enter_context(self._deployed(request, prober, should_stop))
            yield deployment

    @contextmanager
    def _deployed(
        self, request: LaunchRequest, prober: Prober, should_stop: Callable[[], bool]
    ) -> Iterator[Deployment]:
        spec = request.spec
        with ExitStack() as stack:
            folder = stack.enter_context(workdir(request.workdir_root or default_root()))
            stack.enter_context(engine_mark(folder, self._engine.url))
            ports = dict(zip(spec.ports, stack.enter_context(reserve(len(spec.ports), request.ports)), strict=True))
            serve = serve_request(request, folder, ports, ANYWHERE)
            command = inside(spec, command_of(spec.container or spec.command, serve))
            hand_over(folder)
            network = stack.enter_context(self._network(request, folder.name))
            asked = creation(request, command, folder, tuple(ports.values()), network)
            started_ns = time.monotonic_ns()
            container, root, follower = stack.enter_context(self._running(request, asked))

            def check_alive() -> None:
                if not _lives(container, root):
                    raise _death(request, container, follower)

            speakable = spoken(spec.protocols, os.getuid(), request.shared_memory)
            endpoints = endpoints_at(_address(container, network), serve, speakable)
            waiting = Waiting(
                spec.name, spec.ready_timeout_s, prober, check_alive, _whoever, should_stop, request.log_path
            )
            ready_ns = waiting.until_all_ready(endpoints)
            metrics = spec.metrics
            host = next(iter(endpoints.values())).host
            yield Deployment(
                server=spec.name,
                endpoints=endpoints,
                pid=root.pid if root else None,
                cold_start_ns=ready_ns - started_ns,
                model_load_ns=load_time_ns(serve.load_time_path),
                rss_bytes=of_deployment(root.pid, request.run_id, request.deployment_id).rss_bytes() if root else None,
                server_version=request.environment.version,
                environment=request.environment.fingerprint,
                log_path=request.log_path,
                metrics_url=f"http://{host}:{ports[metrics.port]}{metrics.path}" if metrics else None,
                container_id=container.id,
                image=request.environment.image,
                image_digest=request.environment.image_digest,
                limits=_held(request.limits, container.attrs["HostConfig"], host),
            )

    @contextmanager
    def _network(self, request: LaunchRequest, name: str) -> Iterator[str]:
        """A bridge of this deployment's own: it meets no other container on it."""
        client = self._engine.client
        try:
            with self._asking(request):
                client.networks.create(
                    name,
                    driver="bridge",
                    options=network_options(),
                    labels=container_labels(request.run_id, request.deployment_id, request.spec.name),
                )
            yield name
        finally:
            # By its name: it may be there though the engine's answer never came.
            removal = partial(client.api.remove_network, name)
            self._quietly(request, f"its network {name} could not be removed", removal)

    @contextmanager
    def _running(
        self, request: LaunchRequest, asked: Mapping[str, Any]
    ) -> "Iterator[tuple[Container, Seen | None, Thread]]":
        """A container just started, its first process, and what copies its output to the log until it ends.

        It is asked to leave and removed when the block ends.
        """
        request.log_path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # By its name, as the network: and one that could not start is there all the same.
            name = asked["name"]
            removal = partial(self._engine.client.api.remove_container, name, v=True, force=True)
            stack.callback(self._quietly, request, f"its container {name} could not be removed", removal)
            with self._asking(request):
                container = self._engine.client.containers.create(_exactly(request.environment), **asked)
                container.start()
                container.reload()
            follower = Thread(target=_follow, args=(container, request.log_path), name="log", daemon=True)
            follower.start()
            stack.callback(follower.join, _LOG_WAIT_S)
            root = _first_process(container)
            stack.callback(self._stop, request, container, root)
            yield container, root, follower

    def _stop(self, request: LaunchRequest, container: "Container", root: Seen | None) -> None:
        """Ask it to leave; the engine kills it when its time is over. If it had left already, its log says how."""
        gone = _ended(container) if _lives(container, root) else _end_of(request, container)
        if gone is not None:
            with request.log_path.open("a") as log:
                log.write(f"nightbench: the container had ended: {_how(request, gone)}\n")
            return
        grace_s = math.ceil(request.spec.stop.grace_s)
        self._quietly(request, "it could not be stopped", lambda: container.stop(timeout=grace_s))

    @contextmanager
    def _asking(self, request: LaunchRequest) -> Iterator[None]:
        """What the engine refuses, as a `DeploymentError`."""
        from docker.errors import DockerException

        try:
            yield
        except (DockerException, OSError) as error:
            said = refusal(error, image=request.environment.image, url=self._engine.url)
            if any(words in said.detail for words in ("port is already allocated", "address already in use")):
                raise PortLost("died", "another process took its port", log_tail(request.log_path)) from error
            raise said from error

    def _quietly(self, request: LaunchRequest, what: str, call: Callable[[], object]) -> None:
        """Taking down goes on: what cannot be removed now is removed by a later command, by its labels."""
        from docker.errors import DockerException, NotFound

        try:
            call()
        except NotFound:
            return
        except (DockerException, OSError) as error:
            with suppress(OSError), request.log_path.open("a") as log:
                log.write(f"nightbench: {what}: {error}\n")


def _exactly(environment: Environment) -> str:
    """The image by what names its bytes, which is put on record: a tag may have been moved since it was looked up."""
    return environment.image if "@" in environment.image else environment.image_digest or environment.image


def _follow(container: "Container", path: Path) -> None:
    """Copy its output until it ends. The engine keeps what we do not read: a slow disk never holds a server up."""
    from docker.errors import DockerException

    with suppress(DockerException, OSError), path.open("ab", buffering=0) as log:
        for chunk in container.logs(stream=True, follow=True):
            log.write(chunk)


def _whoever(_: Endpoint) -> None:
    """An address or a published port is one container's alone."""


def _first_process(container: "Container") -> Seen | None:
    """``None`` where we do not see it: an engine in another PID namespace counts processes of its own, and its number
    is somebody else's here. A container's id is in the names of its cgroups, whatever drives them."""
    seen = look_up(container.attrs["State"]["Pid"] or 0)
    if seen is None or container.id is None:
        return None
    try:
        return seen if container.id in Path(f"/proc/{seen.pid}/cgroup").read_text() else None
    except OSError:
        return None


def _lives(container: "Container", root: Seen | None) -> bool:
    """By its first process where we see that, which costs the engine nothing."""
    if root is not None:
        now = look_up(root.pid)
        return now is not None and not now.zombie and now.started == root.started
    return _ended(container) is None


def _ended(container: "Container") -> Mapping[str, Any] | None:
    """Its state, if it is known to have ended."""
    from docker.errors import DockerException

    with suppress(DockerException, OSError):
        container.reload()
    state: Mapping[str, Any] = container.attrs["State"]
    return None if state["Running"] else state


def _death(request: LaunchRequest, container: "Container", follower: Thread) -> DeploymentError:
    """What became of a container that ended before it was ready."""
    state = _end_of(request, container)
    follower.join(_LOG_WAIT_S)
    how = _how(request, state) if state is not None else "its first process ended, and the engine does not say how"
    return DeploymentError("died", how, log_tail(request.log_path))


def _end_of(request: LaunchRequest, container: "Container") -> Mapping[str, Any] | None:
    """The state of a container whose first process is gone: the engine learns of it a moment later, and of the kernel's
    part in it later still. ``None`` where it never does."""
    deadline = time.monotonic() + _OOM_WAIT_S
    state = _ended(container)
    while time.monotonic() < deadline and (state is None or _maybe_out_of_memory(request, state)):
        time.sleep(0.02)
        state = _ended(container)
    return state


def _maybe_out_of_memory(request: LaunchRequest, state: Mapping[str, Any]) -> bool:
    killed = state["ExitCode"] == _SIGNALLED + 9
    return killed and not state["OOMKilled"] and request.limits.memory_bytes is not None


def _how(request: LaunchRequest, state: Mapping[str, Any]) -> str:
    """How a container ended, in words."""
    code, said = state["ExitCode"], " ".join(state.get("Error", "").split())
    if state["OOMKilled"]:
        return f"was killed for memory (limit {request.limits.memory_bytes} bytes)"
    if said:
        return f"could not be run: {said}"
    if code > _SIGNALLED:
        return f"was killed by {signal_name(code - _SIGNALLED)}"
    return f"exited with code {code}"


def _address(container: "Container", network: str) -> str:
    """Its own on the bridge if the bridge is one of this machine's, else loopback."""
    import psutil

    joined = container.attrs["NetworkSettings"]["Networks"].get(network, {})
    ours = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    return str(joined["IPAddress"]) if joined.get("IPAddress") and joined.get("Gateway") in ours else LOOPBACK


def _held(limits: Limits, got: Mapping[str, Any], host: str) -> dict[str, str]:
    """Each limit that was asked for and how it is held: an engine may leave out what its kernel does not do."""
    held: dict[str, str] = {}
    if limits.cpus is not None:
        cpus = ",".join(map(str, limits.cpus))
        held["cpus"] = f"cpuset {cpus}" if got.get("CpusetCpus") == cpus else "not enforced: the engine left it out"
    if limits.memory_bytes is not None:
        kept = got.get("Memory") == limits.memory_bytes
        held["memory"] = "cgroup" if kept else "not enforced: the engine left it out"
    if limits.gpus:
        held["gpus"] = f"device request {','.join(limits.gpus)}"
    held["network"] = "this machine only, by the bridge" if host != LOOPBACK else "this machine only, by Docker's proxy"
    return held
