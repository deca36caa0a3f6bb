"""A server that is running already: nothing is started, and nothing ended."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from launch.environment import Environment
from launch.readiness import Waiting
from launch.request import LaunchRequest
from nightbench.server import EXTERNAL, Deployment, Endpoint, Limits, Prober
from nightbench.stopping import never

__all__ = ["ExternalLauncher", "no_environment"]

_LOG_SAYS = "nightbench: the server was running already and keeps its own log\n"
_NOT_OURS = "not enforced: the server was running already"


def no_environment() -> Environment:
    """What stands for the environment of a server that was set up by somebody else."""
    return Environment(Path(sys.executable), Path(), EXTERNAL, "unknown", built=False, build_ns=0)


class ExternalLauncher:
    """Launches as `launch.process.ProcessLauncher` does, by finding what is there."""

    @contextmanager
    def launch(
        self, request: LaunchRequest, prober: Prober, should_stop: Callable[[], bool] = never
    ) -> Iterator[Deployment]:
        """What answers correctly at the endpoint of ``request.spec.external``; it is left as it was found.

        It was not started, so it has no cold start, and the limits of ``request`` bind it to nothing. Raises
        `DeploymentError` (``wrong_answer``, ``not_ready``) or `Stopped`.
        """
        spec = request.spec
        if spec.external is None:
            raise ValueError(f"{spec.name} is not running already")
        request.log_path.parent.mkdir(parents=True, exist_ok=True)
        request.log_path.write_text(_LOG_SAYS)
        endpoint = replace(spec.external, model=spec.external.model or request.model.name)
        waiting = Waiting(spec.name, spec.ready_timeout_s, prober, _nothing, _anything, should_stop, request.log_path)
        waiting.until_ready(endpoint)
        yield Deployment(
            server=spec.name,
            endpoints={endpoint.protocol: endpoint},
            pid=_listener(endpoint.port),
            cold_start_ns=None,
            model_load_ns=None,
            rss_bytes=None,
            server_version=request.environment.version,
            environment=request.environment.fingerprint,
            log_path=request.log_path,
            limits=_unheld(request.limits),
        )


def _nothing() -> None:
    """Whether it lives is for its answers to say."""


def _anything(_: Endpoint) -> None:
    """Whoever answers there is who was asked for."""


def _unheld(limits: Limits) -> dict[str, str]:
    asked = {"cpus": limits.cpus, "memory": limits.memory_bytes}
    return {name: _NOT_OURS for name, limit in asked.items() if limit is not None}


def _listener(port: int) -> int | None:
    """The process on this machine that listens on the port, so that telemetry can tell it from foreign load.

    Where workers share a socket, the one they descend from. ``None`` where it cannot be seen, being elsewhere or
    another user's, or is our own.
    """
    try:
        found = next((each.pid for each in psutil.net_connections(kind="tcp") if _listens(each, port)), None)
        if not found:
            return None
        # psutil names one owner of a socket, whichever it saw first.
        root = psutil.Process(found)
        while (parent := root.parent()) and any(_listens(each, port) for each in parent.net_connections(kind="tcp")):
            root = parent
        ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    except psutil.Error:
        return None
    return None if root.pid in ours else root.pid


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port)
